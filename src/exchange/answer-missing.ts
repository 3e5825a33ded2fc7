import type { Deadline } from '../deadlines.ts'
import type { ToldFailure } from '../dialects/verdict.ts'
import { readMissing } from '../routing/failover.ts'
import type { Answer, AnswerHead, AnswerOwner } from './answer.ts'

/** The body of a 404 is no reason to wait for long. */
const PATIENCE_MS = 1_000
const MOST_BYTES = 64 * 1024

/** A 404 is never an answer: its body tells whether the model is not there, or nothing at all. */
export class MissingAnswer implements Answer {
  readonly #contentType: string
  readonly #parts: Buffer[] = []
  readonly #patience: Deadline
  readonly #giveUp: () => void
  #bytes = 0

  constructor(owner: AnswerOwner, { headers }: AnswerHead) {
    this.#contentType = String(headers['content-type'] ?? '')
    // Whoever says so much, or so little, speaks of something.
    this.#giveUp = () => owner.failedInside(readMissing(this.#contentType, undefined))
    this.#patience = owner.shared.deadlines.open(this.#giveUp)
    this.#patience.start(PATIENCE_MS)
  }

  data(chunk: Buffer): void {
    this.#parts.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes > MOST_BYTES) this.#giveUp()
  }

  hasSpoken(): boolean {
    return false
  }

  holdsBack(): boolean {
    return false
  }

  failure(): ToldFailure {
    return readMissing(this.#contentType, Buffer.concat(this.#parts))
  }

  async ended(): Promise<void> {
    this.drop()
  }

  async died(): Promise<void> {
    this.drop()
  }

  async left(): Promise<void> {
    this.drop()
  }

  drop(): void {
    this.#patience.stop()
  }
}
