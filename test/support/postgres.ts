import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import pg from 'pg'
import { temporaryFolder } from './gateway.ts'
import { unusedPort } from './ports.ts'
import type { Owner } from './waiting.ts'

const PACKAGED = '/usr/lib/postgresql'

/** A PostgreSQL server of the test's own. */
export interface TestPostgres {
  url: string
  query(sql: string): Promise<Record<string, string>[]>
  stop(): Promise<void>
  start(): Promise<void>
}

function findBin(): string {
  const versions = existsSync(PACKAGED) ? readdirSync(PACKAGED) : []
  const bin = versions
    .map((version) => join(PACKAGED, version, 'bin'))
    .find((path) => existsSync(join(path, 'initdb')))
  if (bin === undefined) throw new Error('PostgreSQL is missing: install it (apt-get install postgresql)')
  return bin
}

/** PostgreSQL refuses to run as root: then it runs as its own user. */
function userOf(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const ask = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
  return { uid: ask('-u'), gid: ask('-g') }
}

export async function startPostgres(t: Owner): Promise<TestPostgres> {
  const [bin, user, port] = [findBin(), userOf(), await unusedPort()]
  const dir = temporaryFolder(t, 'gw-postgres-')
  if (user) chownSync(dir, user.uid, user.gid)
  const as = { ...user, cwd: dir, stdio: 'ignore' } as const
  execFileSync(join(bin, 'initdb'), ['-D', join(dir, 'data'), '-U', 'gw', '-A', 'trust', '-N'], as)
  const args = ['-D', join(dir, 'data'), '-p', String(port), '-h', '127.0.0.1', '-k', '', '-F']
  const url = `postgres://gw@127.0.0.1:${port}/postgres`
  let child = spawn(join(bin, 'postgres'), args, as)
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'close')
    child.kill('SIGINT')
    await gone
  }
  t.teardown(stop)
  const query = async (sql: string) => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      return (await client.query(sql)).rows
    } finally {
      await client.end()
    }
  }
  const answers = async () => {
    for (const until = Date.now() + 20_000; ; await wait(50)) {
      const error = await query('SELECT 1').then(
        () => undefined,
        (cause) => cause,
      )
      if (error === undefined) return
      if (Date.now() > until) throw error
    }
  }
  await answers()
  return {
    url,
    query,
    stop,
    start: async () => {
      child = spawn(join(bin, 'postgres'), args, as)
      await answers()
    },
  }
}
