// @ts-check
import { randomBytes } from 'node:crypto'
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import bcrypt from 'bcryptjs'

const FILE = join(fileURLToPath(new URL('..', import.meta.url)), 'edge', 'dashboard-users')
const USAGE = `Makes the password of Traefik's dashboard and prints it, once. Only its bcrypt hash is kept, in edge/dashboard-users.

  node scripts/dashboard-password.js [--user admin] [--stdin] [--file PATH]

  --user NAME   who may log in (admin)
  --stdin       read your own password from standard input, 12 to 72 bytes
  --file PATH   another file
`
const [FAILED, MISUSED] = [1, 2]
/** Asked anew with every request of the page, so it must not take long; the made passwords have 192 bits. */
const COST = 10

function readFlags() {
  const options = /** @type {const} */ ({
    user: { type: 'string', default: 'admin' },
    file: { type: 'string', default: FILE },
    stdin: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  })
  return parseArgs({ options }).values
}

/** @param {boolean} isGiven */
async function readPassword(isGiven) {
  if (!isGiven) return randomBytes(24).toString('base64url')
  const password = (await text(process.stdin)).replace(/\r?\n$/, '')
  const bytes = Buffer.byteLength(password)
  if (bytes < 12 || bytes > 72) throw new Error('a password has 12 to 72 bytes: bcrypt reads no more')
  return password
}

/** Whole or not at all, and readable by its owner alone. @param {string} file @param {string} line */
function write(file, line) {
  const part = `${file}.${process.pid}`
  writeFileSync(part, line, { mode: 0o600, flag: 'wx' })
  renameSync(part, file)
}

async function main() {
  const { user, file, stdin, help } = readFlags()
  if (help) return process.stdout.write(USAGE)
  if (!/^[\w.@-]{1,64}$/.test(user)) throw new Error('--user takes letters, digits, dots, dashes and @')
  const password = await readPassword(stdin)
  write(file, `${user}:${await bcrypt.hash(password, COST)}\n`)
  process.stderr.write(`Written: ${file}. The dashboard's user is "${user}"; make Traefik read it:\n`)
  process.stderr.write('docker-compose -f docker-compose.prod.yml up -d --force-recreate traefik\n')
  if (!stdin) process.stdout.write(`${password}\n`)
}

main().catch((error) => {
  process.stderr.write(`${error.message}\n`)
  process.exitCode = String(error.code).startsWith('ERR_PARSE_ARGS') ? MISUSED : FAILED
})
