import { createHash } from 'node:crypto'
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const AUDIT_NAME = '.server-audit.json'
const DAYS_KEPT = 7
const DAY_MS = 86_400_000
const NAME = /^server\.(\d{4}-\d{2}-\d{2})\.(\d+)\.log$/

interface LogFile {
  name: string
  day: string
  number: number
}

function listFiles(dir: string): LogFile[] {
  return readdirSync(dir)
    .map((name) => ({ name, match: NAME.exec(name) }))
    .flatMap(({ name, match }) => (match ? [{ name, day: match[1] ?? '', number: Number(match[2]) }] : []))
    .sort((a, b) => a.day.localeCompare(b.day) || a.number - b.number)
}

/** Removes log files of days before the last seven, today included, by their names alone. */
export function sweepFiles(dir: string, today: string): void {
  const oldest = new Date(Date.parse(today) - (DAYS_KEPT - 1) * DAY_MS).toISOString().slice(0, 10)
  for (const file of listFiles(dir)) if (file.day < oldest) rmSync(join(dir, file.name), { force: true })
}

/**
 * Writes the rotation package's audit file anew from the file names. A damaged one would end its retention for
 * ever, and without today's entry the first file of a day would get no number.
 */
export function writeAudit(dir: string, today: string): string {
  const path = join(dir, AUDIT_NAME)
  const files = listFiles(dir)
  if (files.at(-1)?.day !== today) files.push({ name: `server.${today}.1.log`, day: today, number: 1 })
  const entries = files.map(({ name, day }) => {
    const date = Date.parse(day)
    const full = join(dir, name)
    return { date, name: full, hash: createHash('sha256').update(`${full}LOG_FILE${date}`).digest('hex') }
  })
  const audit = {
    keep: { days: true, amount: DAYS_KEPT },
    auditLog: path,
    files: entries,
    hashType: 'sha256',
  }
  rmSync(path, { recursive: true, force: true })
  writeFileSync(path, JSON.stringify(audit), { mode: 0o600 })
  return path
}
