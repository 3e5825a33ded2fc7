/** Bodies up to here are rewritten by copying: it costs less than sending several pieces. */
const SMALL_BYTES = 64 * 1024
/** A body in one piece to read, and in the pieces in which it is sent on: the same memory. */
export interface WholeBody {
  view: Buffer
  chunks: readonly Buffer[]
}

/** The whole of what `collectBody` leaves: one piece, or none of an empty body. */
export const wholeOf = (chunks: readonly Buffer[]): WholeBody => ({
  view: chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks),
  chunks,
})

/** Bytes to put in the place of others. */
export interface Splice {
  start: number
  end: number
  bytes: Buffer
}

/** The chunks with the splices in them, in as few pieces as there are; nothing is copied but small bodies. */
export const spliceChunks = (chunks: readonly Buffer[], splices: readonly Splice[]): readonly Buffer[] => {
  if (splices.length === 0) return chunks
  const sorted = splices.length === 1 ? splices : splices.toSorted((a, b) => a.start - b.start)
  const [only] = chunks
  if (chunks.length === 1 && only && only.length <= SMALL_BYTES) return [spliceSmall(only, sorted)]
  const pieces: Buffer[] = []
  let from = 0
  for (const { start, end, bytes } of sorted) {
    pushRange(pieces, chunks, from, start)
    pieces.push(bytes)
    from = end
  }
  pushRange(pieces, chunks, from, Number.POSITIVE_INFINITY)
  return pieces
}

/** Nearly every request: one buffer, written once. */
const spliceSmall = (chunk: Buffer, splices: readonly Splice[]): Buffer => {
  let size = chunk.length
  for (const { start, end, bytes } of splices) size += bytes.length - (end - start)
  const whole = Buffer.allocUnsafe(size)
  let [from, to] = [0, 0]
  for (const { start, end, bytes } of splices) {
    to += chunk.copy(whole, to, from, start)
    to += bytes.copy(whole, to)
    from = end
  }
  chunk.copy(whole, to, from)
  return whole
}

export const sizeOf = (chunks: readonly Buffer[]): number => {
  let size = 0
  for (const chunk of chunks) size += chunk.length
  return size
}

const pushRange = (pieces: Buffer[], chunks: readonly Buffer[], from: number, to: number): void => {
  let at = 0
  for (const chunk of chunks) {
    const [start, end] = [Math.max(from - at, 0), Math.min(to - at, chunk.length)]
    if (start < end) pieces.push(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end))
    at += chunk.length
  }
}
