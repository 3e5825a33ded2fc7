import { readdir, stat, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Registry } from '@prometheus-io/client'
import type { StoreSizes } from '../stores/contracts/sizes.ts'

type Client = typeof import('@prometheus-io/client')

/** What grows: the store, its queues, the folders and their disks. */
export interface Sizes {
  /** Undefined while the store cannot be asked. */
  store: StoreSizes | undefined
  logBytes: number
  /** The disks below the folders; one that cannot be asked is left out. */
  disks: readonly Disk[]
}

interface Disk {
  folder: 'db' | 'log' | 'tmp'
  freeBytes: number
  sizeBytes: number
}

/** Reads sizes without reading any file: each look is a few calls of the file system. */
export async function readSizes(
  { dbDir, logDir }: { dbDir: string; logDir: string },
  ofStore: () => Promise<StoreSizes>,
): Promise<Sizes> {
  const [store, logBytes, ...disks] = await Promise.all([
    ofStore().catch(() => undefined),
    sizeOfFolder(logDir),
    readDisk('db', dbDir),
    readDisk('log', logDir),
    readDisk('tmp', tmpdir()),
  ])
  return { store, logBytes, disks: disks.flat() }
}

async function sizeOfFolder(path: string): Promise<number> {
  const files = await readdir(path).catch(() => [])
  const found = await Promise.all(files.map((file) => stat(join(path, file)).catch(() => undefined)))
  return found.reduce((sum, file) => sum + (file?.isFile() ? file.size : 0), 0)
}

async function readDisk(folder: Disk['folder'], path: string): Promise<Disk[]> {
  const found = await statfs(path).catch(() => undefined)
  if (found === undefined) return []
  // What is kept for root is free for nobody else.
  return [{ folder, freeBytes: found.bavail * found.bsize, sizeBytes: found.blocks * found.bsize }]
}

type Values = readonly { labels?: Record<string, string>; value: number | undefined }[]

const GAUGES: readonly { name: string; help: string; label?: string; read(sizes: Sizes): Values }[] = [
  one('gateway_tokens', 'Tokens in the store.', ({ store }) => store?.tokens),
  {
    name: 'gateway_store_bytes',
    help: 'Files of DB_DIR.',
    label: 'file',
    read: ({ store }) =>
      Object.entries(store?.files ?? {}).map(([file, value]) => ({ labels: { file }, value })),
  },
  one('gateway_answer_bytes', 'Answers kept for idempotency keys.', ({ store }) => store?.answerBytes),
  one('gateway_log_bytes', 'Files of LOG_DIR.', ({ logBytes }) => logBytes),
  {
    name: 'gateway_disk_free_bytes',
    help: 'Free on the disk of DB_DIR (db), LOG_DIR (log) and the temporary folder (tmp).',
    label: 'folder',
    read: ({ disks }) => disks.map(({ folder, freeBytes }) => ({ labels: { folder }, value: freeBytes })),
  },
  {
    name: 'gateway_disk_size_bytes',
    help: 'The size of that disk.',
    label: 'folder',
    read: ({ disks }) => disks.map(({ folder, sizeBytes }) => ({ labels: { folder }, value: sizeBytes })),
  },
  one('gateway_holds', 'Requests with credits set aside.', ({ store }) => store?.holds.count),
  one('gateway_hold_oldest_seconds', 'How long the oldest of them has.', ({ store }) => {
    return seconds(store?.holds.oldestMs)
  }),
  one('gateway_unsettled_bills', 'Bills that the store has not taken yet.', ({ store }) => {
    return store?.unsettled.count
  }),
  one('gateway_unsettled_oldest_seconds', 'How long the oldest of them waits.', ({ store }) => {
    return seconds(store?.unsettled.oldestMs)
  }),
  one('gateway_commit_queue', 'Changes that wait to be written to usage.sqlite.', ({ store }) => {
    return store?.commitQueue
  }),
  one('gateway_usage_rows_waiting', 'Usage rows in Redis that wait for their database.', ({ store }) => {
    return store?.usageRowsWaiting
  }),
  one('gateway_usage_rows_lost', 'Usage rows that Redis dropped: too many waited.', ({ store }) => {
    return store?.usageRowsLost
  }),
  one('gateway_service_rows_waiting', 'Usage rows of services that wait for the store.', ({ store }) => {
    return store?.serviceRows.waiting
  }),
  one('gateway_service_rows_dropped', 'Those that were dropped, since it takes none.', ({ store }) => {
    return store?.serviceRows.dropped
  }),
  one('gateway_usage_rows', 'Usage rows that are not rolled up.', ({ store }) => store?.usageRows),
  one('gateway_usage_oldest_seconds', 'The age of the oldest of them.', ({ store }) => {
    return seconds(store?.usageOldestMs)
  }),
]

function one(name: string, help: string, value: (sizes: Sizes) => number | undefined) {
  return { name, help, read: (sizes: Sizes): Values => [{ value: value(sizes) }] }
}

function seconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1000
}

/** The gauges are made with their first value: one that is not there would read as zero. */
export function createSizeGauges({ Gauge }: Client, registry: Registry): (sizes: Sizes) => void {
  const made = new Map<string, InstanceType<typeof Gauge>>()
  return (sizes) => {
    for (const { name, help, label, read } of GAUGES) {
      const known = read(sizes).filter(({ value }) => value !== undefined)
      if (known.length === 0) {
        if (made.delete(name)) registry.removeSingleMetric(name)
        continue
      }
      const labelNames = label === undefined ? [] : [label]
      const gauge = made.get(name) ?? new Gauge({ name, help, labelNames, registers: [registry] })
      made.set(name, gauge)
      gauge.reset()
      for (const { labels = {}, value = 0 } of known) gauge.set(labels, value)
    }
  }
}
