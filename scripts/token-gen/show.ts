import type { TokenView } from '../../src/admin/token-schemas.ts'

const MICROS = 1_000_000

/** Micro-credits as people write credits: `0.25`. */
export function showCredits(micros: number): string {
  const fraction = String(micros % MICROS)
    .padStart(6, '0')
    .replace(/0+$/, '')
  const whole = Math.floor(micros / MICROS)
  return fraction === '' ? String(whole) : `${whole}.${fraction}`
}

/** To the second, UTC: `2030-12-31T23:59:59Z`. */
export function showTime(at: number | undefined): string {
  return at === undefined ? '-' : `${new Date(at).toISOString().slice(0, 19)}Z`
}

function stateOf({ revokedAt, disabledAt, expiresAt }: TokenView, now: number): string {
  if (revokedAt !== undefined) return 'revoked'
  if (disabledAt !== undefined) return 'disabled'
  return expiresAt !== undefined && expiresAt <= now ? 'expired' : 'valid'
}

const HEADINGS =
  'ID PREFIX TYPE USER NAME BALANCE CREDITED CREATED EXPIRES LAST_USED INFLIGHT ADDRESSES SERVICES STATE'.split(
    ' ',
  )

/** One line for each token, in columns. */
export function showTable(tokens: readonly TokenView[], now: number): string {
  const rows = tokens.map((token) => [
    token.id,
    token.prefix,
    token.type,
    token.user,
    token.name || '-',
    showCredits(token.credits.balanceMicros),
    showCredits(token.credits.creditedMicros),
    showTime(token.createdAt),
    showTime(token.expiresAt),
    showTime(token.lastUsedAt),
    token.requestsInFlight === undefined ? '-' : String(token.requestsInFlight),
    token.addresses?.join(',') || '-',
    token.services?.join(',') || '-',
    stateOf(token, now),
  ])
  const lines = [HEADINGS, ...rows]
  const widths =
    lines[0]?.map((_, column) =>
      lines.reduce((most, line) => Math.max(most, line[column]?.length ?? 0), 0),
    ) ?? []
  const show = (line: string[]) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  return lines.map(show).join('\n')
}

/** The token as scripts read it: credits as numbers, times as ISO text. */
export function toJson(token: TokenView): object {
  const { credits, createdAt, expiresAt, revokedAt, disabledAt, previousUntil, lastUsedAt, ...rest } = token
  const iso = (at: number | undefined) => (at === undefined ? undefined : new Date(at).toISOString())
  return {
    ...rest,
    createdAt: iso(createdAt),
    expiresAt: iso(expiresAt),
    revokedAt: iso(revokedAt),
    disabledAt: iso(disabledAt),
    previousUntil: iso(previousUntil),
    lastUsedAt: iso(lastUsedAt),
    credits: {
      credited: credits.creditedMicros / MICROS,
      balance: credits.balanceMicros / MICROS,
      held: credits.heldMicros / MICROS,
      charged: credits.chargedMicros / MICROS,
    },
  }
}
