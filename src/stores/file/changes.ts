import { balanceTooSmall, idempotencyMismatch } from '../../errors.ts'
import type { Adjustment } from '../contracts/accounts.ts'
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
import type { TokenRecord } from './token-record.ts'
import type { Changed, TokenRegistry } from './tokens.ts'

/** Everything that is done to a token after it was made; each durable when it resolves. */
export function openChanges(registry: TokenRegistry, ledger: Ledger) {
  const change = async (id: string, alter: (token: Token) => Token): Promise<Token | undefined> =>
    (await registry.change(id, (record) => altered(record, alter))).record
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
  const running = new Map<string, { ask: Adjustment; made: Promise<Changed> }>()
  return async (ask: Adjustment): Promise<Token | undefined> => {
    checkAdjustment(ask)
    const { operationId, tokenId } = ask
    const token = registry.byId(tokenId)
    if (token === undefined) return undefined
    const other = running.get(operationId)?.ask ?? registry.operation(operationId)
    if (other !== undefined && (other.tokenId !== tokenId || other.micros !== ask.micros))
      throw idempotencyMismatch('This operation id was used for another change: choose a new one')
    const same = running.get(operationId)
    if (same !== undefined) return (await same.made).record
    if (other !== undefined) return token
    if (ask.micros > 0) refuseRevoked(token)
    const made = ask.micros > 0 ? topUp(registry, ledger, ask) : debit(registry, ledger, ask)
    running.set(operationId, { ask, made })
    try {
      return (await made).record
    } finally {
      running.delete(operationId)
    }
  }
}

/** Durable first: what is not on the disk cannot be spent. */
async function topUp(registry: TokenRegistry, ledger: Ledger, ask: Adjustment): Promise<Changed> {
  const made = await write(registry, ask)
  if (made.isNew) ledger.credit(ask.tokenId, ask.micros)
  return made
}

/** The amount leaves the balance first: what is being taken away cannot be spent meanwhile. */
async function debit(registry: TokenRegistry, ledger: Ledger, ask: Adjustment): Promise<Changed> {
  const { tokenId, micros } = ask
  const balanceMicros = ledger.credits(tokenId)?.balanceMicros ?? 0
  if (balanceMicros < -micros)
    throw balanceTooSmall(
      `The token has ${balanceMicros / 1e6} credits free, ${-micros / 1e6} cannot be taken: take less, or wait until its running requests end`,
    )
  ledger.credit(tokenId, micros)
  try {
    return await write(registry, ask)
  } catch (error) {
    // The file may hold the debit all the same: until that is certain the credits stay out of reach.
    void registry.whole().then(() => ledger.credit(tokenId, -micros))
    throw error
  }
}

function write(registry: TokenRegistry, { operationId, tokenId, micros, at }: Adjustment): Promise<Changed> {
  const add = (token: TokenRecord): TokenRecord => ({
    ...token,
    creditedMicros: token.creditedMicros + micros,
  })
  return registry.change(tokenId, add, { id: operationId, tokenId, micros, at })
}
