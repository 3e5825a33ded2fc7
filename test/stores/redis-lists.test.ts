import { Redis } from 'ioredis'
import t from 'tap'
import { readRedisUrl } from '../../src/config/env/redis-url.ts'
import { openStores, readBooks } from '../../src/stores/open.ts'
import { newToken } from '../contract/token-store.ts'
import { startRedis } from '../support/redis.ts'
import { folder } from './folders.ts'

const TOKENS = 20_000

t.test('while all tokens are listed or checked, Redis serves others', async (test) => {
  const { url } = await startRedis(test)
  const settings = { dbDir: await folder(test), redis: readRedisUrl({ REDIS_URL: url }, []) }
  const stores = await openStores({ ...settings, role: 'command' })
  test.teardown(() => stores.close())
  const made = await stores.tokens.mint(newToken(100))
  const client = new Redis(url)
  test.teardown(() => client.disconnect())
  const sums = { credited: 100, balance: 100, held: 0, charged: 0, rows: 0, holds: 0 }
  const many = client.pipeline()
  for (let index = 1; index < TOKENS; index++) {
    const id = `tok_${index}`
    many.hset('{gateway}:tokens', id, JSON.stringify({ ...made, id })).hset(`{gateway}:account:${id}`, sums)
  }
  await many.exec()

  /** How often somebody else was answered until the work was done. */
  const answersDuring = async (work: Promise<unknown>): Promise<number> => {
    let [isOver, count] = [false, 0]
    const over = work.finally(() => {
      isOver = true
    })
    while (!isOver) {
      await client.ping()
      count += 1
    }
    await over
    return count
  }
  const checking = readBooks(settings)
  test.ok((await answersDuring(checking)) >= 20)
  const { books, faults } = await checking
  test.same([new Set(books.map(({ tokenId }) => tokenId)).size, books.length, faults], [TOKENS, TOKENS, []])
  const listing = stores.tokens.list()
  test.ok((await answersDuring(listing)) >= 20)
  test.equal((await listing).length, TOKENS)
})
