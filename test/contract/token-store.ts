import { randomUUID } from 'node:crypto'
import { hashSecret, makeSecret, prefixOf } from '../../src/auth/client.ts'
import type { AccountList, Adjustment, HoldRequest } from '../../src/stores/contracts/accounts.ts'
import type { TokenStore } from '../../src/stores/contracts/token-store.ts'
import type { NewToken } from '../../src/stores/contracts/tokens.ts'
import { NO_ROW, type UsageRow } from '../../src/stores/contracts/usage-columns.ts'

/** A store with nothing in it, and the same one after a restart. */
export interface OpenedStore {
  store: TokenStore
  /** Closes and opens it again. */
  reopen(): Promise<TokenStore>
}

export interface Owner {
  teardown(close: () => unknown): unknown
}

/** A token to be made, with a secret of its own. */
export function newToken(creditedMicros: number, special: Partial<NewToken> = {}): NewToken {
  const secret = makeSecret()
  const made = { hash: hashSecret(secret), prefix: prefixOf(secret), creditedMicros }
  return { ...made, type: 'user', user: 'ann', name: '', models: [], ...special }
}

/** What a request of that price used. */
export const usageOf = (tokenId: string, costMicros: number): UsageRow => ({
  ...NO_ROW,
  requestId: randomUUID(),
  tokenId,
  user: 'ann',
  model: 'demo',
  provider: 'demo',
  modelUsed: 'demo',
  endpoint: 'chat/completions',
  status: 200,
  inputTokens: 3,
  outputTokens: 4,
  costMicros,
  latencyMs: 12.5,
  firstByteMs: 3,
  attempts: 1,
  at: Date.now(),
})

const listOf = (payers: string | AccountList): AccountList => (typeof payers === 'string' ? [payers] : payers)

/** A hold to be asked for. */
export const ask = (payers: string | AccountList, micros: number, leastMicros = micros): HoldRequest => ({
  accounts: listOf(payers),
  requestId: randomUUID(),
  micros,
  leastMicros,
})

export const NOW = 1_700_000_000_000

/** Credits given or taken, under an operation id of its own. */
export const change = (
  payers: string | AccountList,
  micros: number,
  operationId = makeSecret(),
): Adjustment => ({
  operationId,
  accounts: listOf(payers),
  micros,
  at: NOW,
})

/** A new secret. */
export const rotation = (tokenId: string, previousUntil: number, secret = makeSecret()) => ({
  tokenId,
  hash: hashSecret(secret),
  prefix: prefixOf(secret),
  at: NOW,
  previousUntil,
})
