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
  /** Its own limits; undefined: the gateway's defaults. */
  requestsPerMinute?: number
  requestsPerDay?: number
}

/** `credited = balance + held + charged`, always. Whole micro-credits. */
export interface Credits {
  creditedMicros: number
  balanceMicros: number
  heldMicros: number
  chargedMicros: number
}

/** A token to be made; the store gives it its id. */
export interface NewToken extends Omit<Token, 'id' | 'createdAt' | 'revokedAt'> {
  creditedMicros: number
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

/** What one request used and what it costs; the store says what was charged. */
export interface UsageRow {
  requestId: string
  tokenId: string
  user: string
  /** As the client asked for it. */
  model: string
  /** Who answered, and with which model; empty when nobody did. */
  provider: string
  modelUsed: string
  endpoint: string
  /** The HTTP status; 499 when the client left first, an error's when an answer that had begun was cut. */
  status: number
  inputTokens: number
  cachedTokens: number
  outputTokens: number
  reasoningTokens: number
  seconds: number
  characters: number
  images: number
  estimated: boolean
  /** The full price. What is charged never exceeds the hold plus what is left of the balance. */
  costMicros: number
  latencyMs: number
  firstByteMs: number
  attempts: number
  /** When the request came, milliseconds since 1970. */
  at: number
}

export interface Settlement {
  chargedMicros: number
  balanceMicros: number
}

/** Tokens, their balances and their usage rows. What must be atomic is one method. */
export interface TokenStore {
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
  credits(tokenId: string): Promise<Credits>
  /** Sets credits aside in one step, however many ask at once; undefined when the balance does not cover it. */
  hold(ask: HoldRequest): Promise<Hold | undefined>
  /** An answer has begun: should the process die before `settle`, this much is charged. */
  markAnswered(holdId: number, leastMicros: number, row: UsageRow): void
  /** Ends a hold with what was really used, and writes the usage row. The same hold twice is one charge. */
  settle(holdId: number, row: UsageRow): Promise<Settlement>
  /** Whether the last write succeeded: `GET /ready`. */
  isReady(): boolean
  close(): Promise<void>
}
