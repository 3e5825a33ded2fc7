import { Cluster } from 'ioredis'
import { storeUnavailable } from '../../errors.ts'
import type { Client } from './client.ts'
import type { Link } from './link.ts'

/** It is shorter than every command's own deadline: whatever else uses the connection waits behind it. */
const COPY_MS = 200

/**
 * Runs a script and returns when a replica of Redis has what it wrote, where there is one: a failover right behind it
 * cannot take back what an admin was told. Throws `store_unavailable` when none has it in time; it may come yet. A
 * Cluster has no such wait for a key (`WAIT`, redis.io/docs/latest/commands/wait).
 */
export async function runCopied(link: Link, ...ask: Parameters<Link['run']>): Promise<unknown> {
  const answer = await link.run(...ask)
  if ((await link.read(countCopies)) === 0)
    throw storeUnavailable(
      'Redis has this, but no replica of it yet, and a failover could take it back: look again',
    )
  return answer
}

/** Undefined where nobody copies. `WAIT` speaks of the writes of its own connection: nothing may come between. */
async function countCopies(client: Client): Promise<number | undefined> {
  if (client instanceof Cluster) return undefined
  const info = String(await client.info('replication'))
  return /^slave\d+:.*state=online/m.test(info) ? client.wait(1, COPY_MS) : undefined
}
