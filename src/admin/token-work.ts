import { setImmediate as turn } from 'node:timers/promises'
import type { InferOutput } from 'valibot'
import { isAddressBlock } from '../config/address-blocks.ts'
import { invalidRequest, notFound } from '../errors.ts'
import type { TokenStore } from '../stores/contracts/token-store.ts'
import type { NewToken, Token } from '../stores/contracts/tokens.ts'
import type { creditsBody, secretBody, TokenView } from './token-schemas.ts'

/** What an operator can do with tokens, through the door or over the store itself. */
export interface TokenWork {
  mint(token: NewToken): Promise<TokenView>
  list(): Promise<TokenView[]>
  /** The same, some at a time: between two pages everybody else is served. */
  pages(): AsyncGenerator<TokenView[]>
  revoke(id: string): Promise<TokenView>
  disable(id: string): Promise<TokenView>
  enable(id: string): Promise<TokenView>
  adjust(id: string, change: InferOutput<typeof creditsBody>): Promise<TokenView>
  rotate(id: string, secret: InferOutput<typeof secretBody>): Promise<TokenView>
}

/** So many are looked at in one go: about a millisecond. */
const PAGE = 50

async function* readPages(tokens: TokenStore): AsyncGenerator<TokenView[]> {
  const all = await tokens.list()
  for (let from = 0; from < all.length; from += PAGE) {
    yield Promise.all(all.slice(from, from + PAGE).map((token) => viewToken(tokens, token)))
    await turn()
  }
}

export function openTokenWork(tokens: TokenStore): TokenWork {
  const view = (token: Token) => viewToken(tokens, token)
  const viewKnown = async (id: string, asked: Promise<Token | undefined>): Promise<TokenView> => {
    const token = await asked
    if (token === undefined) throw notFound(`There is no token with the id "${id}"`)
    return view(token)
  }
  return {
    mint: async (token) => {
      const wrong = token.addresses?.find((block) => !isAddressBlock(block))
      if (wrong !== undefined) throw invalidRequest(`"${wrong}" is no address and no block of addresses`)
      return view(await tokens.mint(token))
    },
    list: async () => {
      const found: TokenView[] = []
      for await (const page of readPages(tokens)) found.push(...page)
      return found
    },
    pages: () => readPages(tokens),
    revoke: (id) => viewKnown(id, tokens.revoke(id, Date.now())),
    disable: (id) => viewKnown(id, tokens.disable(id, Date.now())),
    enable: (id) => viewKnown(id, tokens.enable(id)),
    adjust: (id, change) =>
      viewKnown(id, countable(tokens.adjust({ ...change, accounts: [id], at: Date.now() }))),
    rotate: (id, { hash, prefix, overlapMs }) => {
      const at = Date.now()
      return viewKnown(id, tokens.rotate({ tokenId: id, hash, prefix, at, previousUntil: at + overlapMs }))
    },
  }
}

/** The caller's amount is at fault, not the gateway. */
async function countable<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (error instanceof RangeError) throw invalidRequest(error.message, { cause: error })
    throw error
  }
}

/** What an operator may see of the token, with its credits: neither secret nor hash. */
async function viewToken(tokens: TokenStore, token: Token): Promise<TokenView> {
  const { id, prefix, type, user, name, createdAt, expiresAt, revokedAt, disabledAt } = token
  const { requestsPerMinute, requestsPerDay, requestsInFlight, previous, addresses, services } = token
  return {
    id,
    prefix,
    type,
    user,
    name,
    models: [...token.models],
    createdAt,
    expiresAt,
    revokedAt,
    disabledAt,
    previousUntil: previous && Math.max(...previous.map(({ until }) => until)),
    addresses: addresses && [...addresses],
    services: services && [...services],
    requestsPerMinute,
    requestsPerDay,
    requestsInFlight,
    lastUsedAt: await tokens.lastUsedAt(id),
    credits: await tokens.credits(id),
  }
}
