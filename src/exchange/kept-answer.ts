import { copyDownward } from '../dialects/headers.ts'
import type { KeptAnswer } from '../stores/contracts/idempotency.ts'
import type { AnswerHeaders } from '../upstream/heads.ts'
import type { Downstream } from './downstream.ts'

/** A larger answer is not kept. */
const MAX_KEPT_BYTES = 1024 * 1024
/** These headers speak of another moment, or of the connection. */
const NOT_KEPT = ['content-length', 'x-gateway-credits-remaining']

/** A downstream that remembers what it was told to write. */
export interface AnswerKeeper {
  downstream: Downstream
  hasFailed(): boolean
}

/** `onWhole` hears of a whole answer before its last byte leaves: with it when it is JSON and small enough. */
export function createAnswerKeeper(
  inner: Downstream,
  onWhole: (answer: KeptAnswer | undefined) => Promise<void>,
): AnswerKeeper {
  let [head, hasFailed, size]: [Omit<KeptAnswer, 'body'> | undefined, boolean, number] = [undefined, false, 0]
  let pieces: Buffer[] = []
  const keep = (bytes: Buffer): void => {
    size += bytes.length
    if (size <= MAX_KEPT_BYTES && head) pieces.push(bytes)
    else pieces = []
  }
  const answer = (): KeptAnswer | undefined =>
    head && size <= MAX_KEPT_BYTES ? { ...head, body: Buffer.concat(pieces, size) } : undefined
  const downstream: Downstream = {
    response: inner.response,
    hasBegun: () => inner.hasBegun(),
    begin(status, headers, extra) {
      head = headOf(status, headers, extra)
      inner.begin(status, headers, extra)
    },
    write(bytes) {
      keep(bytes)
      return inner.write(bytes)
    },
    end(bytes) {
      if (bytes) keep(bytes)
      const leave = (): void => inner.end(bytes)
      onWhole(answer()).then(leave, leave)
    },
    fail(error, extra) {
      hasFailed = true
      inner.fail(error, extra)
    },
    cut() {
      hasFailed = true
      inner.cut()
    },
  }
  return { downstream, hasFailed: () => hasFailed }
}

/** Undefined for what is no JSON: a stream or a sound. */
function headOf(
  status: number,
  answer: AnswerHeaders,
  extra: Record<string, string>,
): Omit<KeptAnswer, 'body'> | undefined {
  if (!/\bjson\b/i.test(String(answer['content-type'] ?? ''))) return undefined
  const all: Record<string, string> = { ...extra }
  copyDownward(answer, all)
  const headers = Object.entries(all).filter(([name]) => !NOT_KEPT.includes(name))
  return { status, headers: Object.fromEntries(headers) }
}
