import type { RedisAddress } from '../../config/env/redis-url.ts'
import type { Book, Books } from '../contracts/books.ts'
import type { Token } from '../contracts/tokens.ts'
import { buildClient } from './client.ts'
import { connect } from './establish.ts'
import { within } from './evaluate.ts'
import { buildKeys } from './keys.ts'
import { loadScripts } from './scripts.ts'

const LONGEST_MS = 60_000

/** So many tokens are read in one step: Redis serves nobody else meanwhile. */
const PAGE = 500

/** The sums of each token as they are at one moment, read beside whatever runs. */
export async function readRedisBooks(address: RedisAddress, prefix: string): Promise<Books> {
  const client = buildClient(address)
  try {
    await connect(client)
    const keys = buildKeys(prefix)
    const { text } = loadScripts().books
    // A token may come twice: its later sums count.
    const found = new Map<string, ReturnType<typeof readBook>>()
    let cursor = '0'
    do {
      const args = [keys.account(''), keys.holds(''), cursor, PAGE]
      const asked = client.eval(text, 2, keys.tokens, keys.replicas, ...args)
      const [next, page] = (await within(asked, LONGEST_MS)) as [string, unknown[][]]
      for (const one of page.map(readBook)) found.set(one.book.tokenId, one)
      cursor = next
    } while (cursor !== '0')
    const read = [...found.values()]
    return { books: read.map(({ book }) => book), faults: read.flatMap(({ faults }) => faults) }
  } finally {
    client.disconnect()
  }
}

function readBook(fields: readonly unknown[]): { book: Book; faults: string[] } {
  const [text, credited, balance, held, charged, rows, holds] = fields.map(String)
  const token: Token = JSON.parse(text ?? '{}')
  const book: Book = {
    tokenId: token.id,
    user: token.user,
    name: token.name,
    creditedMicros: Number(credited),
    balanceMicros: Number(balance),
    heldMicros: Number(held),
    chargedMicros: Number(charged),
    rowsMicros: Number(rows),
  }
  const whose = `token ${token.id} of ${token.user}`
  const faults: string[] = []
  if ([credited, balance, held, charged, rows].includes('none')) faults.push(`${whose}: it has no account`)
  if (held !== holds) faults.push(`${whose}: ${held} are held, its holds say ${holds}`)
  return { book, faults }
}
