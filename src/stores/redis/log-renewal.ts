import { Cluster } from 'ioredis'
import type { Client } from './client.ts'
import type { Keys } from './keys.ts'

/**
 * Has a Redis that was started anew write its log anew. Killed inside the write of a transaction (MULTI), Redis 7.0 keeps
 * the first half of it: its next start leaves the half out and in the file, where the EXEC of a later transaction ends
 * it, so that the start after that one carries out half of what was never acknowledged. Does nothing for a Cluster,
 * without a log, or where the command is not allowed.
 */
export async function renewLog(client: Client, { meta }: Keys): Promise<void> {
  if (client instanceof Cluster) return
  const [run, known] = [readField(await client.info('server'), 'run_id'), await client.hget(meta, 'redisRun')]
  if (run === undefined || run === known) return
  // A transaction of our own first (two writes: one alone is none to Redis): a file that ends inside one is refused when
  // it is no longer the last.
  await client.multi().hset(meta, 'redisRun', run).hset(meta, 'redisRunAt', Date.now()).exec()
  if (readField(await client.info('persistence'), 'aof_enabled') === '1') await client.bgrewriteaof()
}

const readField = (info: string, name: string): string | undefined =>
  new RegExp(`^${name}:(\\S+)`, 'm').exec(info)?.[1]
