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

/**
 * Which days before today are over. Of days before a gap that no log was written in, the newest stay until others have
 * taken their places: nobody knows whether so long has passed, or somebody has set the clock ahead.
 */
function findOver(days: readonly string[], today: string): Set<string> {
  const before = [today, ...days.filter((day) => day < today).reverse()]
  const daysAgo = (day: string) => (Date.parse(today) - Date.parse(day)) / DAY_MS
  const isAfterGap = (day: string, index: number) =>
    daysAgo(before[index + 1] ?? day) - daysAgo(day) > DAYS_KEPT
  const gap = before.findIndex(isAfterGap)
  const isOver = (day: string, index: number) =>
    index >= DAYS_KEPT || (daysAgo(day) >= DAYS_KEPT && (gap < 0 || index <= gap))
  return new Set(before.filter(isOver))
}

/** Removes log files of days before the last seven, today included, by their names alone. */
export function sweepFiles(dir: string, today: string): void {
  const files = listFiles(dir)
  const over = findOver([...new Set(files.map(({ day }) => day))], today)
  for (const { name, day } of files) if (over.has(day)) rmSync(join(dir, name), { force: true })
}

/**
 * Writes the rotation package's audit file anew from the file names. A damaged one would end its work for ever, and
 * without today's entry the first file of a day would get no number. Other days are left out: which of them are over is
 * decided here, and the package would go by the clock alone.
 */
export function writeAudit(dir: string, today: string): string {
  const path = join(dir, AUDIT_NAME)
  const names = listFiles(dir).flatMap(({ name, day }) => (day === today ? [name] : []))
  if (names.length === 0) names.push(`server.${today}.1.log`)
  const date = Date.parse(today)
  const entries = names.map((name) => {
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
