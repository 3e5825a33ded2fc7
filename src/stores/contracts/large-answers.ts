/** Where replicas keep answers that are too large for Redis. */
export interface LargeAnswers {
  /** The id under which it is read again; undefined: there is no room, or no time. Never throws. */
  keep(tokenId: string, answer: Buffer): Promise<string | undefined>
  /** Undefined when it is gone; throws when it cannot be read just now. */
  read(id: string): Promise<Buffer | undefined>
  close(): Promise<void>
}
