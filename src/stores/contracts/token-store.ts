import type { UsageRow } from './usage-columns.ts'

/** A secret's record: what it may do and whom it belongs to. The secret itself is stored nowhere. */
export interface Token {
  id: string
  /** SHA-256 of the secret, in hex. */
  hash: string
  /** The secret's first characters, for people to tell tokens apart. */
  prefix: string
  type: 'user' | 'admin'
  user: string
  /** Unique among its user's tokens when given; empty otherwise. */
  name: string
  /** Model names or patterns (`gpt-*`) it may use; empty: all. */
  models: readonly string[]
  /** Milliseconds since 1970. */
  createdAt: number
  expiresAt?: number
  revokedAt?: number
  /** Refused from then on until it is enabled again. */
  disabledAt?: number
  /** Its secrets before a rotation, each good until then; whoever finds the token by one of them checks the time. */
  previous?: readonly PreviousSecret[]
  /** Addresses and CIDR blocks it may be used from; undefined or empty: from anywhere. */
  addresses?: readonly string[]
  /** Its own limits; undefined: the gateway's defaults. */
  requestsPerMinute?: number
  requestsPerDay?: number
  /** So many of its requests may run at once; undefined: any number. */
  requestsInFlight?: number
}

/** A secret that was replaced. */
export interface PreviousSecret {
  /** SHA-256 of the secret, in hex. */
  hash: string
  /** Milliseconds since 1970. */
  until: number
}

/** `credited = balance + held + charged`, always. Whole micro-credits. */
export interface Credits {
  creditedMicros: number
  balanceMicros: number
  heldMicros: number
  chargedMicros: number
}

/** A token to be made; the store gives it its id. */
export interface NewToken extends Omit<Token, 'id' | 'createdAt' | 'revokedAt' | 'disabledAt' | 'previous'> {
  creditedMicros: number
}

/** A token's new secret. Its hash is the operation's id: the same rotation twice is one. */
export interface Rotation {
  tokenId: string
  hash: string
  prefix: string
  /** The clock of the caller: secrets whose time is over by then are forgotten. */
  at: number
  /** The secret of now is good until then; no later than `at`: it and all before it end at once. */
  previousUntil: number
}

/** Credits given to a token, or taken from it. */
export interface Adjustment {
  /** The same id within 24 h is one change, however often it is asked for; 1 to 128 printable characters. */
  operationId: string
  tokenId: string
  /** Whole micro-credits to add to what is credited; below zero: to take from the balance. */
  micros: number
  at: number
}

/** A token's running request, counted against its `requestsInFlight`. */
export interface Place {
  /** Unique among all that run. */
  id: string
  tokenId: string
}

export interface HoldRequest {
  tokenId: string
  requestId: string
  /** The worst case. */
  micros: number
  /** Enough to begin with: taken when the balance does not cover `micros` and the token has no other hold. */
  leastMicros: number
}

/** Credits set aside for one request until it is settled. */
export interface Hold {
  id: number
  tokenId: string
  micros: number
  /** What is left to the token besides this hold. */
  balanceMicros: number
}

export interface Settlement {
  chargedMicros: number
  balanceMicros: number
}

/** How long `adjust` remembers an operation id, at least. */
export const OPERATION_MEMORY_MS = 86_400_000

/** Tokens, their balances and their usage rows. What must be atomic is one method. */
export interface TokenStore {
  /** By the hash of its secret, or of one of its `previous` secrets (also when that one's time is over). */
  find(hash: string): Promise<Token | undefined>
  list(): Promise<readonly Token[]>
  /** Durable when it resolves. Throws `name_taken` when the user has a token of that name. */
  mint(token: NewToken): Promise<Token>
  /** The operator's own token: the same record at every start, under a new hash when the secret has changed. */
  putMaster(token: NewToken): Promise<Token>
  /** The master token's record, once there is one. */
  master(): Promise<Token | undefined>
  /** Durable when it resolves; undefined when there is no such token. */
  revoke(tokenId: string, at: number): Promise<Token | undefined>
  /** Turns the token off since `at` (the first time counts), or on again. Durable when it resolves. */
  disable(tokenId: string, at: number): Promise<Token | undefined>
  enable(tokenId: string): Promise<Token | undefined>
  /** Durable when it resolves; undefined when there is no such token. Throws `name_taken` for another token's hash. */
  rotate(rotation: Rotation): Promise<Token | undefined>
  /**
   * Tops a balance up or takes from it in one step: durable when it resolves, undefined when there is no such token.
   * Throws `balance_too_small` (409, nothing is changed) when the free balance does not cover what is taken, and
   * `idempotency_mismatch` (422) when the operation id stands for another change; `RangeError` for an amount of 0, a
   * fraction, or one that would make more credits than can be counted.
   */
  adjust(adjustment: Adjustment): Promise<Token | undefined>
  /** One of `most` places for a running request of the token, in one step; undefined: all are taken. */
  enter(tokenId: string, most: number): Promise<Place | undefined>
  /** Frees the place; twice is once. Never throws: a place that cannot be freed dies with its owner. */
  leave(place: Place): void
  credits(tokenId: string): Promise<Credits>
  /** Sets credits aside in one step, however many ask at once; undefined when the balance does not cover it. */
  hold(ask: HoldRequest): Promise<Hold | undefined>
  /** An answer has begun: should the process die before `settle`, this much is charged. The first mark stands. */
  markAnswered(holdId: number, leastMicros: number, row: UsageRow): void
  /** Ends a hold with what was really used, and writes the usage row. The same hold twice is one charge. */
  settle(holdId: number, row: UsageRow): Promise<Settlement>
  /** Whether the last write succeeded: `GET /ready`. */
  isReady(): boolean
  close(): Promise<void>
}
