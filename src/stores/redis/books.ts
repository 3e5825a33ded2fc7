import type { RedisAddress } from '../../config/env/redis-url.ts'
import type { Book, Books } from '../contracts/books.ts'
import type { Token } from '../contracts/tokens.ts'
import { buildClient } from './client.ts'
import { connect } from './establish.ts'
import { within } from './evaluate.ts'
import { buildKeys } from './keys.ts'
import { loadScripts } from './scripts.ts'

const LONGEST_MS = 60_000

/** All sums as they are at one moment, read in one step beside whatever runs. */
export async function readRedisBooks(address: RedisAddress, prefix: string): Promise<Books> {
  const client = buildClient(address)
  try {
    await connect(client)
    const keys = buildKeys(prefix)
    const args = [keys.account(''), keys.holds('')]
    const asked = client.eval(loadScripts().books.text, 2, keys.tokens, keys.replicas, ...args)
    const found = await within(asked, LONGEST_MS)
    const read = Array.isArray(found) ? found.map(readBook) : []
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
