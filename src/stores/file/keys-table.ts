import type { KeptAnswer, KeyedRequest } from '../idempotency.ts'
import type { Sqlite } from '../sqlite.ts'
import { prepareTransaction } from '../sqlite.ts'
import { addKeysTable } from './ledger-schema.ts'

/** A key of a request that is over. */
export interface Row {
  fingerprint: string
  requestId: string
  at: number
  answer: KeptAnswer | undefined
}

/** The statements on the table of keys; first ends what a dead process has left running. */
export function prepareKeys(db: Sqlite) {
  addKeysTable(db)
  endLeftKeys(db)
  const find = db.prepare('SELECT * FROM keys WHERE token_id = ? AND key = ?')
  const put = db.prepare('INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?, 0, NULL, NULL, NULL)')
  const finish = db.prepare(
    'UPDATE keys SET is_over = 1, status = ?, headers = ?, body = ? WHERE token_id = ? AND key = ? AND request_id = ?',
  )
  const remove = db.prepare('DELETE FROM keys WHERE token_id = ? AND key = ? AND request_id = ?')
  const sweep = db.prepare('DELETE FROM keys WHERE is_over = 1 AND at <= ?')
  return {
    find: ({ tokenId, key }: KeyedRequest): Row | undefined => {
      const row = find.get(tokenId, key)
      if (row === undefined) return undefined
      const { fingerprint, request_id: requestId, at, status, headers, body } = row
      const answer =
        body instanceof Uint8Array
          ? { status: Number(status), headers: JSON.parse(String(headers)), body: Buffer.from(body) }
          : undefined
      return { fingerprint: String(fingerprint), requestId: String(requestId), at: Number(at), answer }
    },
    put: ({ tokenId, key, fingerprint, requestId, at }: KeyedRequest) =>
      put.run(tokenId, key, fingerprint, requestId, at),
    finish: ({ tokenId, key, requestId }: KeyedRequest, answer: KeptAnswer | undefined) => {
      const { status = null, headers, body = null } = answer ?? {}
      const names = headers === undefined ? null : JSON.stringify(headers)
      finish.run(status, names, body, tokenId, key, requestId)
    },
    remove: ({ tokenId, key, requestId }: KeyedRequest) => remove.run(tokenId, key, requestId),
    sweep: (before: number) => sweep.run(before),
  }
}

/** Nobody runs them any more: one that stands in the bills was answered, any other is free again. */
function endLeftKeys(db: Sqlite): void {
  const billed = `SELECT 1 FROM usage WHERE usage.token_id = keys.token_id AND usage.time >= keys.at
    AND usage.request_id = keys.request_id AND usage.provider <> ''`
  prepareTransaction(db)(() => {
    db.exec(`UPDATE keys SET is_over = 1 WHERE is_over = 0 AND EXISTS (${billed})`)
    db.exec('DELETE FROM keys WHERE is_over = 0')
  })
}
