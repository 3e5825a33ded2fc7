import { randomUUID } from 'node:crypto'
import { storeUnavailable } from '../../errors.ts'
import {
  type Claim,
  type IdempotencyStore,
  KEY_MEMORY_MS,
  type KeptAnswer,
  type KeyedRequest,
} from '../idempotency.ts'
import type { Sqlite } from '../sqlite.ts'
import { prepareKeys, type Row } from './keys-table.ts'
import type { Ledger } from './ledger.ts'

const SWEEP_EVERY_MS = 600_000

/** A key that runs, or whose end is not in the database yet. */
interface Held {
  request: KeyedRequest
  name: string
  end?: 'free' | { answer: KeptAnswer | undefined }
}

/** Idempotency keys beside the charges: claimed in memory at once, written in the order in which things happened. */
export function openKeys(db: Sqlite, ledger: Ledger): IdempotencyStore {
  const table = prepareKeys(db)
  const held = new Map<string, Held>()
  const claims = new Map<string, Held>()
  let sweptAt = 0
  const write = (apply: () => void, done: () => void = () => undefined): void => {
    const isTaken = ledger.add({ apply, done, drop: () => undefined })
    if (!isTaken) throw storeUnavailable('The idempotency key cannot be written just now: try again')
  }
  const claim = (request: KeyedRequest): Claim => {
    const name = nameOf(request)
    const found = held.get(name)
    if (found !== undefined && found.end !== 'free') return claimOf(found, request)
    const row = found === undefined ? table.find(request) : undefined
    if (row !== undefined && row.at > request.at - KEY_MEMORY_MS) return ofRow(row, request)
    if (!ledger.isReady()) throw storeUnavailable('The idempotency key cannot be written just now: try again')
    write(() => table.put(request))
    const [id, own] = [randomUUID(), { request, name }]
    held.set(name, own)
    claims.set(id, own)
    return { state: 'claimed', id }
  }
  /** Remembered here until it stands in the database, so that nobody reads the state of before. */
  const end = (id: string, how: NonNullable<Held['end']>): void => {
    const own = claims.get(id)
    if (own === undefined) return
    claims.delete(id)
    own.end = how
    const forget = () => {
      if (held.get(own.name) === own) held.delete(own.name)
    }
    write(() => (how === 'free' ? table.remove(own.request) : table.finish(own.request, how.answer)), forget)
  }
  return {
    claim: async (request) => {
      if (request.at - sweptAt >= SWEEP_EVERY_MS) {
        sweptAt = request.at
        write(() => table.sweep(request.at - KEY_MEMORY_MS))
      }
      return claim(request)
    },
    finish: async (id, answer) => end(id, { answer }),
    free: async (id) => end(id, 'free'),
  }
}

const nameOf = ({ tokenId, key }: KeyedRequest): string => `${tokenId}\0${key}`

function claimOf({ request: { requestId, fingerprint }, end }: Held, request: KeyedRequest): Claim {
  if (fingerprint !== request.fingerprint) return { state: 'mismatch' }
  if (end === undefined || end === 'free') return { state: 'running', requestId }
  return { state: 'answered', requestId, answer: end.answer }
}

function ofRow({ requestId, fingerprint, answer }: Row, request: KeyedRequest): Claim {
  if (fingerprint !== request.fingerprint) return { state: 'mismatch' }
  return { state: 'answered', requestId, answer }
}
