/** How long a key stands for its request. */
export const KEY_MEMORY_MS = 86_400_000

/** An answer up to this size stands beside its key; a larger one has a place of its own. */
export const SMALL_ANSWER_BYTES = 16 * 1024

/** How much is kept; of answers their bodies and headers. */
export interface KeyLimits {
  /** Answers of one token: its own oldest go first. */
  answerBytesPerToken: number
  /** Answers in all: when they are full, the token that has the most gives its oldest up. */
  answerBytes: number
  /** Keys of one token within a day. None is forgotten for a new one: a forgotten key would be charged again. */
  keysPerToken: number
}

export const DEFAULT_KEY_LIMITS: KeyLimits = {
  answerBytesPerToken: 64 * 1024 * 1024,
  answerBytes: 1024 * 1024 * 1024,
  keysPerToken: 100_000,
}

/** A request that came with an `Idempotency-Key`. */
export interface KeyedRequest {
  tokenId: string
  /** The client's own: 1 to 255 printable characters. One token's keys are not another's. */
  key: string
  /** SHA-256 in hex of what must be the same the next time: path and body. */
  fingerprint: string
  /** The body's length: a longer one is another, which need not be read to know it. */
  bodyBytes: number
  requestId: string
  /** Milliseconds since 1970. */
  at: number
}

/** What can be said of a request before its body is read; `bodyBytes` are the least that it may have. */
export type BareKey = Pick<KeyedRequest, 'tokenId' | 'key' | 'at' | 'bodyBytes'>

/** A whole answer, to be given again byte for byte. */
export interface KeptAnswer {
  status: number
  headers: Readonly<Record<string, string>>
  body: Buffer
}

/** What a key stands for at the moment it is asked about. */
export type Claim =
  /** Nobody has it: this request runs under it now, and must end in `finish` or `free`. */
  | { state: 'claimed'; id: string }
  /** A request with the same fingerprint runs at this moment. */
  | { state: 'running'; requestId: string }
  /** It was answered and paid. Without `answer` it cannot be given again: a stream, too large, or it had to make room. */
  | { state: 'answered'; requestId: string; answer: KeptAnswer | undefined }
  /** The key was used for another path or body. */
  | { state: 'mismatch' }
  /** The token has as many keys as one may; so long until there is room for another. */
  | { state: 'full'; retryAfterMs: number }

/** Which request stands behind an `Idempotency-Key`, for 24 hours. What must be atomic is one method. */
export interface IdempotencyStore {
  /**
   * Claims in one step, however many ask at once: one of them gets `claimed`. It survives the death of the process: a
   * claim without an owner is answered (without `answer`) when its request was charged, and free when it was not.
   */
  claim(request: KeyedRequest): Promise<Claim>
  /** Whether a request with this key, and no shorter body, runs or was answered: asked before a body is read. */
  isKnown(key: BareKey): Promise<boolean>
  /**
   * The request was answered: whoever claims the key from now on gets this, as long as `KeyLimits` has room for it, and
   * never a part of it. Twice, or after `free`: nothing.
   */
  finish(claimId: string, answer: KeptAnswer | undefined): Promise<void>
  /** Nobody answered and nothing was charged: the key may be used again. Twice, or after `finish`: nothing. */
  free(claimId: string): Promise<void>
}

/** What an answer counts for. */
export function sizeOfAnswer({ headers, body }: KeptAnswer): number {
  return body.length + JSON.stringify(headers).length
}

/** Where replicas keep answers that are too large for Redis. */
export interface LargeAnswers {
  /** The id under which it is read again; undefined: there is no room, or no time. Never throws. */
  keep(tokenId: string, answer: Buffer): Promise<string | undefined>
  /** Undefined when it is gone; throws when it cannot be read just now. */
  read(id: string): Promise<Buffer | undefined>
  close(): Promise<void>
}
