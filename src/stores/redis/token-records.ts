import { nameTaken, storeUnavailable } from '../../errors.ts'
import { checkMicros } from '../contracts/accounts.ts'
import { nameKeyOf } from '../contracts/names.ts'
import { makeTokenId } from '../contracts/token-changes.ts'
import { badFieldOf } from '../contracts/token-fields.ts'
import type { NewToken, Token } from '../contracts/tokens.ts'
import type { Context } from './context.ts'
import { runCopied } from './copied.ts'

/** How long a record that was read counts as known: a revocation reaches every replica within this time. */
const KNOWN_MS = 500
const MOST_KNOWN = 10_000
const MOST_TRIES = 20
/** So many tokens are read at once. */
const PAGE = 500

/** The tokens' records. */
export class TokenRecords {
  readonly #context: Context
  readonly #known = new Map<string, { token: Token; until: number }>()
  #areOldNamesPlain = false

  constructor(context: Context) {
    this.#context = context
  }

  async find(hash: string): Promise<Token | undefined> {
    const before = this.#known.get(hash)
    if (before !== undefined && before.until > performance.now()) return before.token
    this.#known.delete(hash)
    const { link, scripts, keys } = this.#context
    const text = await link.run(scripts.find, [keys.tokens, keys.hashes], [hash])
    if (typeof text !== 'string') return undefined
    const token = readToken(text)
    if (this.#known.size >= MOST_KNOWN) this.#known.clear()
    this.#known.set(hash, { token, until: performance.now() + KNOWN_MS })
    return token
  }

  async byId(id: string): Promise<Token | undefined> {
    const text = await this.#textOf(id)
    return text === null ? undefined : readToken(text)
  }

  async list(): Promise<Token[]> {
    const found = new Map<string, Token>()
    let cursor = '0'
    do {
      // Page by page: nobody else waits for all of them. A token may come twice.
      const [next, fields] = await this.#page(cursor)
      for (let index = 1; index < fields.length; index += 2) {
        const token = readToken(fields[index] ?? '')
        found.set(token.id, token)
      }
      cursor = next
    } while (cursor !== '0')
    return [...found.values()].sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
  }

  async master(): Promise<Token | undefined> {
    const { link, keys } = this.#context
    const id = await link.read((client) => client.hget(keys.meta, 'master'))
    return id === null ? undefined : this.byId(id)
  }

  async mint({ creditedMicros, ...wish }: NewToken, isMaster = ''): Promise<Token> {
    checkMicros('creditedMicros', creditedMicros)
    const token: Token = { ...wish, id: makeTokenId(), createdAt: Date.now() }
    checkToken(token)
    const { link, scripts, keys } = this.#context
    const name = token.name === '' ? '' : nameKeyOf(token)
    if (name !== '' && !this.#areOldNamesPlain) await this.#plainOldNames()
    const touched = [keys.tokens, keys.hashes, keys.names, keys.account(token.id), keys.meta]
    const args = [token.id, token.hash, name, JSON.stringify(token), creditedMicros, isMaster]
    const answer = await runCopied(link, scripts.mint, touched, args)
    if (answer === 'hash') throw nameTaken('There is a token with this secret already')
    if (answer === 'name') throw nameTaken(`"${token.user}" has a token named "${token.name}" already`)
    return token
  }

  /** Names of earlier releases stand as they were typed: the plain ones beside them keep them from being given twice. */
  async #plainOldNames(): Promise<void> {
    const { link, keys } = this.#context
    const names = await link.read((client) => client.hgetall(keys.names))
    for (const [typed, id] of Object.entries(names)) {
      const [user, name]: string[] = JSON.parse(typed)
      const plain = nameKeyOf({ user: user ?? '', name: name ?? '' })
      if (names[plain] === undefined) await link.read((client) => client.hsetnx(keys.names, plain, id))
    }
    this.#areOldNamesPlain = true
  }

  /** Changes a record in one step, whoever else changes it; undefined when there is none. */
  async change(id: string, alter: (before: Token) => Token): Promise<Token | undefined> {
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const text = await this.#textOf(id)
      if (text === null) return undefined
      const before = readToken(text)
      const after = alter(before)
      if (after === before) return before
      const answer = await this.#put(before, text, after)
      if (answer === 'hash') throw nameTaken('There is a token with this secret already')
      if (answer === 'ok') return after
    }
    throw storeUnavailable('The token is changed by too many at once: try again')
  }

  #page(cursor: string): Promise<[cursor: string, fields: string[]]> {
    const { link, keys } = this.#context
    return link.read((client) => client.hscan(keys.tokens, cursor, 'COUNT', PAGE))
  }

  #textOf(id: string): Promise<string | null> {
    const { link, keys } = this.#context
    return link.read((client) => client.hget(keys.tokens, id))
  }

  #put(before: Token, text: string, after: Token): Promise<unknown> {
    checkToken(after)
    this.#known.clear()
    const { link, scripts, keys } = this.#context
    const args = [before.id, text, JSON.stringify(after), ...hashChanges(before, after)]
    return runCopied(link, scripts.change, [keys.tokens, keys.hashes], args)
  }
}

/** Every secret that finds the token. */
export function hashesOf({ hash, previous = [] }: Token): string[] {
  return [hash, ...previous.map((secret) => secret.hash)]
}

function hashChanges(before: Token, after: Token): string[] {
  const [old, now] = [hashesOf(before), hashesOf(after)]
  const gone = old.filter((hash) => !now.includes(hash)).map((hash) => `-${hash}`)
  return [...gone, ...now.filter((hash) => !old.includes(hash)).map((hash) => `+${hash}`)]
}

function checkToken(token: Token): void {
  const field = badFieldOf({ ...token, creditedMicros: 0 })
  if (field !== undefined) throw new RangeError(`a token cannot have this ${field}`)
}

/** Only this file writes records, and only checked ones. */
function readToken(text: string): Token {
  return JSON.parse(text)
}
