import type { TokenView } from '../../src/admin/token-schemas.ts'
import type { Credits } from '../../src/stores/contracts/accounts.ts'
import type { Book, Books } from '../../src/stores/contracts/books.ts'

/** What a running server says of its tokens; undefined when none runs. */
export type Live = readonly TokenView[] | undefined

/** The sums to show, and what does not add up. */
export interface Verdict {
  books: readonly Book[]
  total: Credits & { rowsMicros: number }
  faults: readonly string[]
}

/** Holds the stored sums against each other, and against those of the server, which were read later. */
export function judge({ books, faults }: Books, live: Live): Verdict {
  const stored = books.flatMap((book) => [
    ...faultsOf(book),
    ...(book.chargedMicros === book.rowsMicros
      ? []
      : [`${nameOf(book)}: ${book.chargedMicros} are charged, its usage rows say ${book.rowsMicros}`]),
  ])
  const current = live === undefined ? books : withLive(books, live)
  const running = live === undefined ? [] : current.flatMap((book) => [...faultsOf(book), ...lossOf(book)])
  return { books: current, total: totalOf(current), faults: [...new Set([...faults, ...stored, ...running])] }
}

function nameOf({ tokenId, user }: Book): string {
  return `token ${tokenId} of ${user}`
}

function faultsOf(book: Book): string[] {
  const { creditedMicros, balanceMicros, heldMicros, chargedMicros } = book
  const sums = `${creditedMicros} credited, ${balanceMicros} balance, ${heldMicros} held, ${chargedMicros} charged`
  if (Math.min(creditedMicros, balanceMicros, heldMicros, chargedMicros) < 0)
    return [`${nameOf(book)}: below zero: ${sums}`]
  if (creditedMicros !== balanceMicros + heldMicros + chargedMicros)
    return [`${nameOf(book)}: does not add up: ${sums}`]
  return []
}

/** A charge never becomes less: the server may know more than its files, but not the other way round. */
function lossOf(book: Book): string[] {
  return book.chargedMicros >= book.rowsMicros
    ? []
    : [`${nameOf(book)}: the server has charged ${book.chargedMicros}, its usage rows say ${book.rowsMicros}`]
}

function withLive(books: readonly Book[], live: readonly TokenView[]): Book[] {
  const found = new Map(live.map(({ id, credits }) => [id, credits]))
  return books.map((book) => ({ ...book, ...found.get(book.tokenId) }))
}

function totalOf(books: readonly Book[]): Verdict['total'] {
  const sum = (field: keyof Verdict['total']) => books.reduce((all, book) => all + book[field], 0)
  return {
    creditedMicros: sum('creditedMicros'),
    balanceMicros: sum('balanceMicros'),
    heldMicros: sum('heldMicros'),
    chargedMicros: sum('chargedMicros'),
    rowsMicros: sum('rowsMicros'),
  }
}
