import { existsSync, readdirSync, statSync } from 'node:fs'
import { chmod, copyFile, mkdir, open, readFile, truncate, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { loadEnvFile } from '../../src/config/env/env-file.ts'
import { Failure } from '../command/failures.ts'
import { NAMED_FOLDER, type NamedFile, STORE_FOLDER } from './manifest.ts'

const ACME = 'letsencrypt/acme.json'
const PLAIN = ['.env', 'edge/dashboard-users']
/** The operator's own, with their keys. */
const OWN_CERTIFICATES = 'edge/certificates'
/** Settings of the process's own environment that name a file of ours; in `.env` each that ends so does. */
const OURS = /^(MODELS|(\w+_)?KEY|ADMIN_FIRST|(REDIS|DATABASE)_URL|HTTPS?_PROXY|\w+_SECRET)_FILE$/
const CERTIFICATES = 'NODE_EXTRA_CA_CERTS'
const TRIES = 100
const TRY_AGAIN_MS = 50

/** Copies what a deployment has beside its store, as far as it is there: settings, certificates, the dashboard's password. */
export async function copyBeside(folder: string, target: string): Promise<void> {
  for (const path of [...PLAIN, ...ownCertificates(folder)])
    if (existsSync(join(folder, path))) await copyInto(join(folder, path), join(target, path))
  const acme = join(folder, ACME)
  if (existsSync(acme) && statSync(acme).size > 0) await copyCertificates(acme, join(target, ACME))
}

function ownCertificates(folder: string): string[] {
  const inner = join(folder, OWN_CERTIFICATES)
  if (!existsSync(inner)) return []
  return readdirSync(inner).flatMap((name) =>
    /^[\w-][\w.-]*\.(crt|key)$/.test(name) ? [`${OWN_CERTIFICATES}/${name}`] : [],
  )
}

/** Traefik writes over the file as it stands: what is read twice alike, and is JSON, is whole. */
async function copyCertificates(from: string, to: string): Promise<void> {
  for (let left = TRIES; left > 0; left--) {
    const [text, again] = [await readFile(from, 'utf8'), await readFile(from, 'utf8')]
    if (text === again && isJson(text)) {
      await mkdir(dirname(to), { recursive: true, mode: 0o700 })
      return writeFile(to, text, { mode: 0o600, flag: 'wx' })
    }
    await sleep(TRY_AGAIN_MS)
  }
  throw new Failure(`"${from}" is no JSON: Traefik rewrites it, or it is damaged`)
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

async function copyInto(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true, mode: 0o700 })
  await copyFile(from, to)
  await chmod(to, 0o600)
}

/** Copies what settings name by path; `root` is what the server takes relative paths from. */
export async function copyNamed(folder: string, root: string, target: string): Promise<NamedFile[]> {
  const named = namedIn(folder).filter(({ path }) => isFile(resolve(root, path)))
  for (const { setting, path } of named)
    await copyInto(resolve(root, path), join(target, NAMED_FOLDER, setting))
  return named
}

function namedIn(folder: string): NamedFile[] {
  const written: Record<string, string | undefined> = {}
  loadEnvFile(join(folder, '.env'), written)
  const isNaming = (name: string) => name.endsWith('_FILE') || name === CERTIFICATES
  const ours = Object.keys(process.env).filter((name) => OURS.test(name))
  const names = [...Object.keys(written).filter(isNaming), ...ours]
  return [...new Set(names)].flatMap((setting) => {
    const path = process.env[setting] || written[setting]
    return path && /^[A-Z][A-Z0-9_]*$/.test(setting) ? [{ setting, path }] : []
  })
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false
}

const APPENDED = 'appendonly.aof'
/** A checksum of eight bytes behind this one ends each dump, */
const DUMP_END = 0xff
const DUMP_TAIL_BYTES = 9
/** ... and a mark of so many hex digits one that redis-cli has written to its standard output. */
const MARK_BYTES = 40

/**
 * Lays a dump of Redis (`redis-cli --rdb`) where its next start reads it: as the base of an append-only file to which nothing
 * was appended. A dump alone is not read where "appendonly" is on.
 */
export async function layDump(dump: string, target: string): Promise<void> {
  const bytes = await measureDump(dump)
  const folder = join(target, STORE_FOLDER, 'redis', 'appendonlydir')
  const base = join(folder, `${APPENDED}.1.base.rdb`)
  await copyInto(dump, base)
  await truncate(base, bytes)
  const line = `file ${APPENDED}.1.base.rdb seq 1 type b\n`
  await writeFile(join(folder, `${APPENDED}.manifest`), line, { mode: 0o600, flag: 'wx' })
}

/** How long it is without such a mark; throws when it is not whole. */
async function measureDump(path: string): Promise<number> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    const [head, tail] = [Buffer.alloc(5), Buffer.alloc(DUMP_TAIL_BYTES + MARK_BYTES)]
    await file.read(head, 0, head.length, 0)
    await file.read(tail, 0, tail.length, Math.max(0, size - tail.length))
    const isMarked = /^[0-9a-f]+$/.test(tail.toString('latin1', DUMP_TAIL_BYTES))
    const end = isMarked ? tail[0] : tail[MARK_BYTES]
    if (head.toString('latin1') !== 'REDIS' || end !== DUMP_END)
      throw new Failure(`"${path}" is no whole dump of Redis`)
    return isMarked ? size - MARK_BYTES : size
  } finally {
    await file.close()
  }
}
