import { balanceTooSmall, idempotencyMismatch } from '../../errors.ts'
import { type AccountList, type Adjustment, writeAccounts } from '../contracts/accounts.ts'
import {
  checkAdjustment,
  disabled,
  enabled,
  refuseRevoked,
  revoked,
  rotated,
} from '../contracts/token-changes.ts'
import type { Rotation, Token } from '../contracts/tokens.ts'
import type { Ledger } from './ledger.ts'
import type { Operation, TokenRecord } from './token-record.ts'
import type { TokenRegistry } from './tokens.ts'

/** Everything that is done to a token after it was made; each durable when it resolves. */
export function openChanges(registry: TokenRegistry, ledger: Ledger) {
  const change = async (id: string, alter: (token: Token) => Token): Promise<Token | undefined> =>
    registry.change(id, (record) => altered(record, alter))
  return {
    revoke: (tokenId: string, at: number) => change(tokenId, (token) => revoked(token, at)),
    disable: (tokenId: string, at: number) => change(tokenId, (token) => disabled(token, at)),
    enable: (tokenId: string) => change(tokenId, enabled),
    rotate: (rotation: Rotation) => change(rotation.tokenId, (token) => rotated(token, rotation)),
    adjust: openAdjust(registry, ledger),
  }
}

/** The credits are the registry's own. */
export function altered(record: TokenRecord, alter: (token: Token) => Token): TokenRecord {
  const after = alter(record)
  return after === record ? record : { ...after, creditedMicros: record.creditedMicros }
}

/** One change for each operation id, also when it is asked for twice at once. */
function openAdjust(registry: TokenRegistry, ledger: Ledger) {
  const running = new Map<string, { operation: Operation; made: Promise<boolean> }>()
  return async (ask: Adjustment): Promise<Token | undefined> => {
    checkAdjustment(ask)
    const { operationId: id, accounts, micros, at } = ask
    const operation = { id, tokenId: writeAccounts(accounts), micros, at }
    const tokens = accounts.flatMap((one) => registry.byId(one) ?? [])
    if (tokens.length < accounts.length) return undefined
    const same = running.get(id)
    const other = same?.operation ?? registry.operation(id)
    if (other !== undefined && (other.tokenId !== operation.tokenId || other.micros !== micros))
      throw idempotencyMismatch('This operation id was used for another change: choose a new one')
    if (same !== undefined) await same.made
    if (other !== undefined) return registry.byId(accounts[0])
    if (micros > 0) tokens.forEach(refuseRevoked)
    const books = { registry, ledger }
    const made = micros > 0 ? topUp(books, accounts, operation) : debit(books, accounts, operation)
    running.set(id, { operation, made })
    try {
      await made
      return registry.byId(accounts[0])
    } finally {
      running.delete(id)
    }
  }
}

interface Books {
  registry: TokenRegistry
  ledger: Ledger
}

/** Durable first: what is not on the disk cannot be spent. */
async function topUp(
  { registry, ledger }: Books,
  accounts: AccountList,
  operation: Operation,
): Promise<boolean> {
  const isMade = await registry.credit(accounts, operation)
  if (isMade) ledger.credit(accounts, operation.micros)
  return isMade
}

/** The amount leaves the balances first: what is being taken away cannot be spent meanwhile. */
async function debit(
  { registry, ledger }: Books,
  accounts: AccountList,
  operation: Operation,
): Promise<boolean> {
  const { micros } = operation
  const freeMicros = ledger.leastMicros(accounts)
  if (freeMicros < -micros)
    throw balanceTooSmall(
      `The token has ${freeMicros / 1e6} credits free, ${-micros / 1e6} cannot be taken: take less, or wait until its running requests end`,
    )
  ledger.credit(accounts, micros)
  try {
    return await registry.credit(accounts, operation)
  } catch (error) {
    // The file may hold the debit all the same: until that is certain the credits stay out of reach.
    void registry.whole().then(() => ledger.credit(accounts, -micros))
    throw error
  }
}
