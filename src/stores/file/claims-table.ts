import { KEY_MEMORY_MS, type KeyedRequest, type KeyLimits } from '../contracts/idempotency.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import { prepareTransaction } from '../sql/sqlite.ts'
import type { AnswerFile } from './answer-files.ts'
import { addClaims } from './claims-schema.ts'

/** A request under its key's hash. */
export interface HashedRequest extends KeyedRequest {
  keyHash: Buffer
}

/** An answer as it is kept: its body beside the key, or in a file. */
export interface Kept {
  status: number
  headers: Readonly<Record<string, string>>
  body: Buffer | AnswerFile
  /** What it counts for. */
  bytes: number
}

/** A key of a request that is over. */
export interface Row {
  fingerprint: string
  requestId: string
  at: number
  kept: Kept | undefined
}

/** A key that a guest of an earlier server runs. */
export interface GuestKey {
  guest: string
  request: HashedRequest
}

/** The statements on the table of keys; first ends what a dead process has left running. */
export function prepareClaims(db: Sqlite, limits: KeyLimits) {
  addClaims(db)
  endLeftKeys(db)
  return { ...prepareReads(db), waitMs: prepareKeyRoom(db, limits), ...prepareChanges(db, limits) }
}

function prepareReads(db: Sqlite) {
  const find = db.prepare('SELECT * FROM claims WHERE token_id = ? AND key_hash = ?')
  const claim = db.prepare('SELECT at, fingerprint FROM claims WHERE token_id = ? AND key_hash = ?')
  const answered = db.prepare('SELECT file FROM claims WHERE file IS NOT NULL')
  // Few run, and many are kept.
  const ofGuests = db.prepare(`SELECT claims.*, guest_holds.guest FROM claims INDEXED BY claims_running
    CROSS JOIN holds ON holds.request_id = claims.request_id JOIN guest_holds ON hold_id = holds.id
    WHERE is_over = 0`)
  return {
    ofGuests: (): GuestKey[] => ofGuests.all().map(readGuestKey),
    find: ({ tokenId, keyHash }: HashedRequest): Row | undefined => readRow(find.get(tokenId, keyHash)),
    findClaim(tokenId: string, keyHash: Buffer): { at: number; bodyBytes: number } | undefined {
      const row = claim.get(tokenId, keyHash)
      return row && { at: Number(row.at), bodyBytes: readFingerprint(row).bodyBytes }
    },
    files: (): Set<string> => new Set(filesOf(answered.all())),
  }
}

/** Each answers with the files that nothing names any more. */
function prepareChanges(db: Sqlite, limits: KeyLimits) {
  const put = db.prepare('INSERT INTO claims VALUES (?, ?, ?, ?, ?, 0, NULL, NULL, NULL, NULL, NULL, 0)')
  const finish =
    db.prepare(`UPDATE claims SET is_over = 1, status = ?, headers = ?, body = ?, file = ?, digest = ?, bytes = ?
    WHERE token_id = ? AND key_hash = ? AND request_id = ?`)
  const remove = db.prepare('DELETE FROM claims WHERE token_id = ? AND key_hash = ? RETURNING file')
  const removeOwn = db.prepare('DELETE FROM claims WHERE token_id = ? AND key_hash = ? AND request_id = ?')
  const sweep = db.prepare(`DELETE FROM claims WHERE rowid IN
    (SELECT rowid FROM claims WHERE at <= ? AND is_over = 1 ORDER BY at LIMIT ?) RETURNING file`)
  const putBack = db.prepare(
    'INSERT OR IGNORE INTO claims VALUES (?, ?, ?, ?, ?, 0, NULL, NULL, NULL, NULL, NULL, 0)',
  )
  const own = 'token_id = ? AND key_hash = ? AND request_id = ? AND is_over = 0'
  const endBilled = db.prepare(`UPDATE claims SET is_over = 1 WHERE ${own} AND EXISTS (${BILLED})`)
  const freeLeft = db.prepare(`DELETE FROM claims WHERE ${own}`)
  const makeRoom = prepareRoom(db, limits)
  return {
    put: ({ tokenId, keyHash, fingerprint, bodyBytes, requestId, at }: HashedRequest): string[] => {
      const files = filesOf(remove.all(tokenId, keyHash))
      put.run(tokenId, keyHash, `${fingerprint} ${bodyBytes}`, requestId, at)
      return files
    },
    finish: ({ tokenId, keyHash, requestId }: HashedRequest, kept: Kept | undefined): string[] => {
      const own = kept && 'name' in kept.body ? kept.body : undefined
      const { files, hasRoom } = kept ? makeRoom(tokenId, kept.bytes) : { files: [], hasRoom: false }
      const row = kept && hasRoom ? columnsOf(kept) : NOTHING_KEPT
      const { changes } = finish.run(...row, tokenId, keyHash, requestId)
      if (own && (!hasRoom || changes === 0)) files.push(own.name)
      return files
    },
    remove: ({ tokenId, keyHash, requestId }: HashedRequest): string[] => {
      removeOwn.run(tokenId, keyHash, requestId)
      return []
    },
    /** Unless it stands there already, whoever it stands for. */
    putBack: ({ tokenId, keyHash, fingerprint, bodyBytes, requestId, at }: HashedRequest): string[] => {
      putBack.run(tokenId, keyHash, `${fingerprint} ${bodyBytes}`, requestId, at)
      return []
    },
    /** Nobody runs it any more. */
    endLeft: ({ tokenId, keyHash, requestId }: HashedRequest): string[] => {
      endBilled.run(tokenId, keyHash, requestId)
      freeLeft.run(tokenId, keyHash, requestId)
      return []
    },
    sweep: (before: number, most: number): { files: string[]; count: number } => {
      const rows = sweep.all(before, most)
      return { files: filesOf(rows), count: rows.length }
    },
  }
}

type Columns = [number | null, string | null, Buffer | null, string | null, string | null, number]

const NOTHING_KEPT: Columns = [null, null, null, null, null, 0]

function columnsOf({ status, headers, body, bytes }: Kept): Columns {
  const names = JSON.stringify(headers)
  if ('name' in body) return [status, names, null, body.name, body.digest, bytes]
  return [status, names, body, null, null, bytes]
}

function filesOf(rows: Record<string, unknown>[]): string[] {
  return rows.flatMap(({ file }) => (typeof file === 'string' ? [file] : []))
}

/** The body's length stands behind it; in rows of before it does not, and whatever is sent may be that body. */
function readFingerprint(row: Record<string, unknown>): { fingerprint: string; bodyBytes: number } {
  const [fingerprint = '', bytes] = String(row.fingerprint).split(' ')
  return { fingerprint, bodyBytes: bytes === undefined ? Number.POSITIVE_INFINITY : Number(bytes) }
}

/** Of the key itself its hash alone is known. */
function readGuestKey(row: Record<string, unknown>): GuestKey {
  const { guest, token_id: tokenId, key_hash: hash, request_id: requestId, at } = row
  const keyHash = hash instanceof Uint8Array ? Buffer.from(hash) : Buffer.alloc(0)
  const base = { tokenId: String(tokenId), key: '', requestId: String(requestId), at: Number(at) }
  return { guest: String(guest), request: { ...base, ...readFingerprint(row), keyHash } }
}

function readRow(row: Record<string, unknown> | undefined): Row | undefined {
  if (row === undefined) return undefined
  const { request_id: requestId, at, status, headers, body, file, digest, bytes } = row
  const { fingerprint } = readFingerprint(row)
  const base = { fingerprint, requestId: String(requestId), at: Number(at) }
  const head = () => ({
    status: Number(status),
    headers: JSON.parse(String(headers)),
    bytes: Number(bytes),
  })
  if (body instanceof Uint8Array) return { ...base, kept: { ...head(), body: Buffer.from(body) } }
  if (typeof file !== 'string') return { ...base, kept: undefined }
  return { ...base, kept: { ...head(), body: { name: file, digest: String(digest) } } }
}

/** How many answers make room for one: more would hold everybody up, and the next one finds the room. */
const MOST_DROPPED = 500

/** Makes room for an answer: its token's oldest go first; where all is full, the oldest of the token that has the most. */
function prepareRoom(db: Sqlite, { answerBytesPerToken, answerBytes }: KeyLimits) {
  const sum = db.prepare('SELECT bytes FROM claim_sums WHERE token_id = ?')
  const largest = db.prepare(
    `SELECT token_id, bytes FROM claim_sums WHERE token_id <> '' ORDER BY bytes DESC LIMIT 1`,
  )
  const drop =
    db.prepare(`UPDATE claims SET status = NULL, headers = NULL, body = NULL, file = NULL, bytes = 0
    WHERE rowid = ?`)
  const oldest = db.prepare(
    'SELECT rowid, file FROM claims WHERE token_id = ? AND bytes > 0 ORDER BY at LIMIT 1',
  )
  const bytesOf = (tokenId: string): number => Number(sum.get(tokenId)?.bytes ?? 0)
  return (tokenId: string, bytes: number): { files: string[]; hasRoom: boolean } => {
    const files: string[] = []
    for (let dropped = 0; dropped < MOST_DROPPED; dropped++) {
      const own = bytesOf(tokenId) + bytes
      const isOver = own > answerBytesPerToken
      if (!isOver && bytesOf('') + bytes <= answerBytes) return { files, hasRoom: true }
      const most = isOver ? undefined : largest.get()
      const isMine = isOver || most?.token_id === tokenId
      // Nobody gives way to one that would have more than it.
      if (bytes > answerBytesPerToken || (!isMine && Number(most?.bytes ?? 0) < own))
        return { files, hasRoom: false }
      const row = oldest.get(isMine ? tokenId : String(most?.token_id))
      if (row === undefined) return { files, hasRoom: false }
      drop.run(Number(row.rowid))
      files.push(...filesOf([row]))
    }
    return { files, hasRoom: false }
  }
}

/** How long until a token may have one key more than those `unwritten` beside the table; 0: it may. */
function prepareKeyRoom(db: Sqlite, { keysPerToken }: KeyLimits) {
  const keys = db.prepare('SELECT keys FROM claim_sums WHERE token_id = ?')
  const oldest = db.prepare('SELECT min(at) AS at FROM claims WHERE token_id = ?')
  return ({ tokenId, at }: KeyedRequest, unwritten: number): number => {
    if (Number(keys.get(tokenId)?.keys ?? 0) + unwritten < keysPerToken) return 0
    return Math.max(1, Number(oldest.get(tokenId)?.at ?? at) + KEY_MEMORY_MS - at)
  }
}

/** The request of a key was answered. */
const BILLED = `SELECT 1 FROM usage WHERE usage.token_id = claims.token_id AND usage.time >= claims.at
    AND usage.request_id = claims.request_id AND usage.provider <> ''`

/** Of a guest that lives, or will be billed. */
const BEGUN = 'SELECT 1 FROM holds WHERE holds.request_id = claims.request_id AND holds.row IS NOT NULL'

/** Of a guest that lives, perhaps: it says so as soon as it is here. */
const RUNNING = `SELECT 1 FROM holds JOIN guest_holds ON hold_id = holds.id
  WHERE holds.request_id = claims.request_id`

/** Nobody runs them any more: one that stands in the bills was answered, any other is free again. Guests' run on. */
function endLeftKeys(db: Sqlite): void {
  prepareTransaction(db)(() => {
    db.exec(`UPDATE claims SET is_over = 1 WHERE is_over = 0 AND (EXISTS (${BILLED}) OR EXISTS (${BEGUN}))`)
    db.exec(`DELETE FROM claims WHERE is_over = 0 AND NOT EXISTS (${RUNNING})`)
  })
}
