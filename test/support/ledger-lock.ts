import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { TestGateway } from './gateway.ts'
import { waitUntil } from './journey.ts'
import type { Owner } from './waiting.ts'

/** Another process that does not let go of the ledger: nothing can be written until `end`. */
export function lockLedger(t: Owner, { dbDir }: Pick<TestGateway, 'dbDir'>) {
  const db = new DatabaseSync(join(dbDir, 'usage.sqlite'))
  db.exec('BEGIN IMMEDIATE')
  const end = (): void => {
    if (db.isOpen) db.close()
  }
  t.teardown(end)
  return { end }
}

/** Waits until the gateway has noticed that nothing can be written. */
export function waitForOutage({ url }: Pick<TestGateway, 'url'>) {
  return waitUntil(
    async () => (await fetch(`${url}/ready`)).status === 200,
    (isReady) => !isReady,
  )
}
