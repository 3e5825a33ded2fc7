import { isRecord } from '../../json.ts'
import { badFieldOf, isAmount, isName } from '../contracts/token-fields.ts'
import type { Token } from '../contracts/tokens.ts'

/** A token as `tokens.json` keeps it. */
export interface TokenRecord extends Token {
  /** All that was ever given to it. */
  creditedMicros: number
}

/** A top-up or a debit that was made, so that asking for it again changes nothing. */
export interface Operation {
  id: string
  /** All the accounts that it was made on (`writeAccounts`). */
  tokenId: string
  micros: number
  at: number
}

/** All of `tokens.json`. */
export interface TokensFile {
  version: 1
  /** The same in `usage.sqlite`: the two belong together. */
  storeId: string
  /** The id of the operator's own token. */
  master?: string
  tokens: TokenRecord[]
  /** The operations of the last day, oldest first. */
  operations?: readonly Operation[]
}

function isTokenRecord(value: unknown): value is TokenRecord {
  return badFieldOf(value) === undefined
}

/** Reads `tokens.json`; throws an error that says what is wrong in it. */
export function readTokensFile(text: string): TokensFile {
  const content: unknown = JSON.parse(text)
  if (!isRecord(content)) throw new Error('it holds no store')
  const { version, storeId, master, tokens, operations = [] } = content
  if (typeof version === 'number' && version > 1) throw new Error(`it is of a newer version (${version})`)
  if (version !== 1) throw new Error('"version" is missing')
  if (typeof storeId !== 'string' || storeId === '') throw new Error('"storeId" is missing')
  if (!Array.isArray(tokens)) throw new Error('"tokens" is no list')
  const records = tokens.map((record: unknown, index) => {
    if (!isTokenRecord(record)) throw new Error(`token ${index + 1} has a wrong ${badFieldOf(record)}`)
    return record
  })
  refuseTwins(records)
  if (!Array.isArray(operations) || !operations.every(isOperation))
    throw new Error('"operations" is no list of them')
  if (master === undefined) return { version, storeId, tokens: records, operations }
  const isKnown = typeof master === 'string' && records.some(({ id }) => id === master)
  if (!isKnown) throw new Error('"master" names no token')
  return { version, storeId, master, tokens: records, operations }
}

function isOperation(value: unknown): value is Operation {
  return (
    isRecord(value) &&
    isName(value.id) &&
    isName(value.tokenId) &&
    Number.isSafeInteger(value.micros) &&
    isAmount(value.at)
  )
}

function refuseTwins(records: readonly TokenRecord[]): void {
  const seen = new Set<string>()
  let expected = 0
  for (const { id, hash, previous = [] } of records) {
    seen.add(id).add(hash)
    for (const earlier of previous) seen.add(earlier.hash)
    expected += 2 + previous.length
    if (seen.size !== expected) throw new Error(`token "${id}" stands in it twice`)
  }
}
