// @ts-check
// What the registry knows against the packages of production, by the lock file. "high" and "critical" fail; a registry that
// answers no such question (mirrors often do not) is one line and no failure.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** @typedef {{ severity: string, range?: string, fixAvailable?: unknown, via?: (string | { title?: string, url?: string })[] }} Vulnerability */

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const [FAILED, BAD] = [1, ['high', 'critical']]
const LONGEST_MS = 120_000

/** @param {string} text @returns {{ message?: string, vulnerabilities?: Record<string, Vulnerability> }} */
function read(text) {
  try {
    return JSON.parse(text)
  } catch {
    return { message: 'npm gave no report' }
  }
}

/** @param {[string, Vulnerability]} found */
function describe([name, { severity, range, via = [], fixAvailable }]) {
  const reasons = via.map((one) => (typeof one === 'string' ? `through ${one}` : `${one.title} ${one.url}`))
  const cure = fixAvailable ? 'a fixed version exists: npm audit fix' : 'no fixed version exists yet'
  return `✗ ${severity}: ${name} ${range ?? ''}: ${reasons.join('; ')}: ${cure}\n`
}

const cwd = process.argv[2] ?? ROOT
const { stdout, error } = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
  cwd,
  encoding: 'utf8',
  timeout: LONGEST_MS,
})
const { vulnerabilities, message } = error ? { message: error.message } : read(stdout)
if (vulnerabilities === undefined)
  process.stdout.write(`- skipped: the registry gave no advisories (${message ?? 'no reason named'})\n`)
else {
  const found = Object.entries(vulnerabilities).filter(([, { severity }]) => BAD.includes(severity))
  for (const one of found) process.stdout.write(describe(one))
  if (found.length > 0) process.exitCode = FAILED
  else process.stdout.write('✓ no advisory of severity high or critical for the packages of production\n')
}
