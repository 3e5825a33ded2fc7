/** A service as a token's list names it: a route's name, or a path that covers it. */
export const SERVICE_NAME = /^\/?[A-Za-z0-9._~-]+(\/[A-Za-z0-9._~-]+)*$/

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
  /** Names of services, or paths that cover theirs, it may call; undefined or empty: all. */
  services?: readonly string[]
  /** Its own limits; undefined: the gateway's defaults. */
  requestsPerMinute?: number
  requestsPerDay?: number
  /** How many of its requests may run at once; undefined: any number. */
  requestsInFlight?: number
}

/** A secret that was replaced. */
export interface PreviousSecret {
  /** SHA-256 of the secret, in hex. */
  hash: string
  /** Milliseconds since 1970. */
  until: number
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

/** Who may come in: the registry of tokens. What must be atomic is one method. */
export interface Tokens {
  /**
   * Finds a token by the hash of its secret, or of one of its `previous` secrets (also when that one's time is over).
   */
  find(hash: string): Promise<Token | undefined>
  list(): Promise<readonly Token[]>
  /** When the last request came that the token paid for, as far as this store knows. */
  lastUsedAt(tokenId: string): Promise<number | undefined>
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
}
