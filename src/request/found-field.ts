import { invalidJson } from '../errors.ts'

/** Every field that is served, and 128 items of lists that name one each: whatever a body is, no more is kept. */
const MAX_FOUND = 160

/** Where the value of a guarded field stands in the body's bytes. */
export interface FoundField {
  path: string
  start: number
  end: number
  /** Its first byte: tells objects, lists, strings, numbers and words apart. */
  opening: number
  /** Undefined: it is longer than what is kept, or more is guarded inside. */
  text: string | undefined
  /** An object or a list without anything in it. */
  isEmpty: boolean
}

export const beginField = (
  { path }: { path: string },
  start: number,
  byte: number | undefined,
): FoundField => ({
  path,
  start,
  end: start,
  opening: byte ?? 0,
  text: undefined,
  isEmpty: false,
})

/**
 * A field of the items of a list may stand as often as the list has items: without a bound a body would be kept many
 * times over, and gone over again. Throws `invalid_json`, with the field: the body is JSON all the same.
 */
export const keepField = (found: FoundField[], field: FoundField): void => {
  const { path: param } = field
  if (found.length === MAX_FOUND)
    throw invalidJson(`"${param}" stands in the body too often; send fewer of its list's items`, { param })
  found.push(field)
}

/** The text of a value that may come in many pieces, up to a length. */
export class KeptText {
  #pieces: Buffer[] = []
  #bytes = 0
  /** Where it begins in the piece at hand; -1: nothing is being kept. */
  #from = -1
  #mostBytes = 0

  begin(at: number, mostBytes: number): void {
    this.#from = at
    this.#mostBytes = mostBytes
    this.#bytes = 0
    if (this.#pieces.length > 0) this.#pieces = []
  }

  /** Sets aside what this piece has of it, up to `end`: its memory may be another's a moment later. */
  keep(piece: Buffer, end: number): void {
    if (this.#from === -1) return
    if (this.#bytes <= this.#mostBytes) this.#pieces.push(Buffer.from(piece.subarray(this.#from, end)))
    this.#bytes += end - this.#from
    this.#from = 0
  }

  /** Undefined: it is longer than what is kept. */
  end(piece: Buffer, end: number): string | undefined {
    const from = this.#from
    this.#from = -1
    if (this.#bytes + end - from > this.#mostBytes) return undefined
    if (this.#pieces.length === 0) return piece.toString('utf8', from, end)
    return Buffer.concat([...this.#pieces, piece.subarray(from, end)]).toString()
  }
}
