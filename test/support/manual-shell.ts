import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import { temporaryFolder } from './gateway.ts'
import { type ManualBlock, readProgram } from './manual.ts'
import { unusedPort } from './ports.ts'
import { bareEnv, startProcess } from './process.ts'
import type { Owner } from './waiting.ts'

const ROOT = join(import.meta.dirname, '..', '..')

/** A clone of what is here, as a reader has it, with the port that its server shall listen on. */
export interface Clone {
  folder: string
  port: number
  /** Beside PATH and HOME, as the reader's shell has it. */
  env: Record<string, string>
  /** Other ports of the pages' and what stands for them here. */
  otherPorts?: Readonly<Record<string, number>>
}

interface CloneOptions {
  /** What the reader's shell has beside PATH and HOME. */
  env?: Record<string, string>
  /** `real`: the page's `npm ci`, `npm i` and `pip install` ask the registries; else the packages of the tests are linked. */
  packages?: 'linked' | 'real'
}

/** Copies what git knows of, changes that are not committed included; a server of the clone ends with the test. */
export async function openClone(
  t: Owner,
  { env = {}, packages = 'linked' }: CloneOptions = {},
): Promise<Clone> {
  const folder = temporaryFolder(t, 'gw-manual-')
  const clone = join(folder, 'api-gateway')
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const { stdout } = spawnSync('git', args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 26 })
  for (const path of stdout.split('\0').filter((each) => each !== '' && !each.startsWith('test/'))) {
    mkdirSync(dirname(join(clone, path)), { recursive: true })
    if (existsSync(join(ROOT, path))) cpSync(join(ROOT, path), join(clone, path))
  }
  if (packages === 'linked') symlinkSync(join(ROOT, 'node_modules'), join(clone, 'node_modules'))
  t.teardown(() => endServer(join(folder, 'server.pid')))
  const port = await unusedPort()
  const own = { PORT: String(port), HOST: '127.0.0.1', CLONE: clone, FOLDER: folder }
  return {
    folder: clone,
    port,
    env: { ...own, ...(packages === 'real' ? registryEnv() : {}), ...env },
  }
}

/** How this machine reaches the registries: through a proxy or a mirror, say, with an authority of its own. */
export function registryEnv(): Record<string, string> {
  const names =
    /^(npm_config_.*|pip_.*|https?_proxy|no_proxy|node_extra_ca_certs|ssl_cert_.*|requests_ca_bundle)$/i
  const found = Object.entries(process.env).flatMap(([name, value]) =>
    value !== undefined && names.test(name) ? [[name, value]] : [],
  )
  return { REAL_PACKAGES: 'yes', ...Object.fromEntries(found) }
}

function endServer(file: string): void {
  if (!existsSync(file)) return
  try {
    process.kill(-Number(readFileSync(file, 'utf8')), 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}

/** What a block said, in a file of its own: a block that failed is the first that has none or ends in another code. */
export interface BlockOutcome {
  block: ManualBlock
  code: string
  output: string
}

/** Stands in the pages for the id of a token of theirs. */
const TOKEN_IN_PAGES = 'tok_X403bcGOq4G7'
const PRELUDE = readFileSync(join(import.meta.dirname, 'manual-prelude.sh'), 'utf8')

/** Runs blocks in their order in one shell, as a reader pastes them; stops at the first that fails. */
export async function runBlocks(
  t: Owner,
  clone: Clone,
  blocks: readonly ManualBlock[],
): Promise<BlockOutcome[]> {
  const folder = join(dirname(clone.folder), `run-${blocks[0]?.page.replaceAll('/', '-')}`)
  // What an earlier run has left would read as this one's.
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const script = join(folder, 'script.sh')
  const steps = blocks.map((block, index) => stepOf(block, join(folder, String(index)), clone))
  writeFileSync(script, [PRELUDE, ...steps].join('\n'))
  const run = startProcess(t, {
    command: 'bash',
    args: [script],
    env: { ...bareEnv(), ...clone.env },
    cwd: clone.folder,
  })
  const { stderr } = await run.exited
  return blocks.map((block, index) => {
    const outcome = readOutcome(join(folder, String(index)))
    return { block, ...outcome, output: outcome.output || stderr }
  })
}

function stepOf(block: ManualBlock, file: string, { port, otherPorts = {} }: Clone): string {
  const program = readProgram(block)
  let text = block.text
    .replaceAll('localhost:8088', `localhost:${port}`)
    .replaceAll(TOKEN_IN_PAGES, '$(id_of ann)')
  for (const [shown, own] of Object.entries(otherPorts))
    text = text.replaceAll(new RegExp(`\\b${shown}\\b`, 'g'), String(own))
  const end = `@@END-OF-${block.line}`
  const commands =
    program === undefined ? text : `cat > ${program.file} <<'${end}'\n${text}${end}\n${program.command}\n`
  // No subshell: what a reader exports stays. Where the server is started the reader's first terminal is.
  const inFolder = /\bnpm start\b|^cp \.env/m.test(text) ? `(cd "$CLONE"\n${commands})` : commands
  return [`begin ${file}`, inFolder, 'end', ''].join('\n')
}

function readOutcome(file: string): { code: string; output: string } {
  const read = (name: string) => {
    try {
      return readFileSync(name, 'utf8')
    } catch {
      return ''
    }
  }
  return { code: read(`${file}.code`) || 'not reached', output: read(`${file}.out`) }
}

/** Each block up to the first that failed. */
export function checkOutcomes(t: Test, outcomes: readonly BlockOutcome[]): void {
  for (const { block, code, output } of outcomes) {
    const isGood = code.trim() === '0'
    const told = isGood ? {} : { code, output, text: block.text }
    t.ok(isGood, `${block.page}:${block.line} ${block.language}`, told)
    if (!isGood) return
  }
}

/** The statuses that a block promises in its comments (`# 401: no key`) and those that it printed, one a line. */
export function checkStatuses(t: Test, outcomes: readonly BlockOutcome[]): void {
  for (const { block, output } of outcomes) {
    const promised = Array.from(block.text.matchAll(/^status .*# (\d{3})\b/gm), ([, status]) => status)
    const seen = output.match(/^\d{3}$/gm) ?? []
    if (promised.length > 0) t.strictSame(seen, promised, `${block.page}:${block.line} statuses`, { output })
  }
}
