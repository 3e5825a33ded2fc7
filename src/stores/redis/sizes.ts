import type { StoreSizes } from '../contracts/sizes.ts'
import { sizeOfFiles } from '../folder.ts'
import type { NotedRows } from '../noted-rows.ts'
import type { Holds } from './accounts.ts'
import type { Context } from './context.ts'
import { UNSETTLED, type Unsettled } from './unsettled.ts'

const OWN_FILES: readonly string[] = ['usage.sqlite', 'usage.sqlite-wal', 'usage.sqlite-shm']

export interface SizedStore {
  context: Context
  holds: Holds
  unsettled: Unsettled
  dbDir: string
  rows: NotedRows
}

/** What Redis says of itself, as far as it answers, and what waits in this process and in its folder. */
export function prepareSizes(store: SizedStore): () => Promise<StoreSizes> {
  const { context, holds, unsettled, dbDir, rows } = store
  return async () => ({
    ...(await askRedis(context).catch(() => undefined)),
    files: await sizeOfFiles(dbDir, nameOf),
    holds: holds.waiting(),
    unsettled: unsettled.waiting(),
    serviceRows: rows.counts(),
  })
}

function nameOf(file: string): string | undefined {
  if (UNSETTLED.test(file)) return 'unsettled'
  return OWN_FILES.includes(file) ? file : undefined
}

async function askRedis({ link, keys }: Context): Promise<Partial<StoreSizes>> {
  const [tokens, paidRows, serviceRows, lost, answerBytes] = await link.read((client) =>
    Promise.all([
      client.hlen(keys.tokens),
      client.xlen(keys.usage),
      client.xlen(keys.serviceUsage),
      client.hget(keys.meta, 'rowsLost'),
      client.get(keys.answerTotal),
    ]),
  )
  return {
    tokens,
    usageRowsWaiting: paidRows + serviceRows,
    usageRowsLost: Number(lost ?? 0),
    answerBytes: Number(answerBytes ?? 0),
  }
}
