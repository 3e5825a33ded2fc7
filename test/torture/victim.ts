import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { bareEnv } from '../support/process.ts'

/** When a victim is to be killed: after so many lines, or so many milliseconds after its first one. */
export type Death = { lines: number } | { ms: number }

/** What a victim said, and when it was killed (milliseconds since 1970). */
export interface Life {
  lines: string[]
  killedAt: number
}

/** Lets a script of this folder work in `dbDir`, kills it there (-9), and returns all the whole lines it said. */
export async function killedVictim(script: string, dbDir: string, death: Death): Promise<Life> {
  const child = spawn(process.execPath, [join(import.meta.dirname, script), dbDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
    // Without the hooks of the test runner, which would double its start.
    env: bareEnv(),
  })
  let [said, count] = ['', 0]
  let timer: NodeJS.Timeout | undefined
  let killedAt = 0
  const kill = () => {
    killedAt ||= Date.now()
    child.kill('SIGKILL')
  }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
    count += text.split('\n').length - 1
    if ('ms' in death) timer ??= setTimeout(kill, death.ms)
    else if (count > death.lines) kill()
  })
  await once(child, 'close')
  clearTimeout(timer)
  // The last piece may be a line cut in two.
  return { lines: said.split('\n').slice(0, -1), killedAt }
}
