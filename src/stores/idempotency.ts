/** How long a key stands for its request. */
export const KEY_MEMORY_MS = 86_400_000

/** A request that came with an `Idempotency-Key`. */
export interface KeyedRequest {
  tokenId: string
  /** The client's own: 1 to 255 printable characters. One token's keys are not another's. */
  key: string
  /** SHA-256 in hex of what must be the same the next time: path and body. */
  fingerprint: string
  requestId: string
  /** Milliseconds since 1970. */
  at: number
}

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
  /** It was answered and paid. Without `answer` it cannot be given again: a stream, or too large. */
  | { state: 'answered'; requestId: string; answer: KeptAnswer | undefined }
  /** The key was used for another path or body. */
  | { state: 'mismatch' }

/** Which request stands behind an `Idempotency-Key`, for 24 hours. What must be atomic is one method. */
export interface IdempotencyStore {
  /**
   * In one step, however many ask at once: one of them gets `claimed`. It survives the death of the process: a claim
   * without an owner is answered (without `answer`) when its request was charged, and free when it was not.
   */
  claim(request: KeyedRequest): Promise<Claim>
  /** The request was answered: whoever claims the key from now on gets this. Twice, or after `free`: nothing. */
  finish(claimId: string, answer: KeptAnswer | undefined): Promise<void>
  /** Nobody answered and nothing was charged: the key may be used again. Twice, or after `finish`: nothing. */
  free(claimId: string): Promise<void>
}
