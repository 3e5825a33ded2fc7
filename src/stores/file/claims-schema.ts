import { hash } from 'node:crypto'
import { SMALL_ANSWER_BYTES } from '../contracts/idempotency.ts'
import type { Sqlite } from '../sql/sqlite.ts'
import { hasTable, prepareTransaction } from '../sql/sqlite.ts'

const CLAIMS = `
CREATE TABLE IF NOT EXISTS claims (
  token_id TEXT NOT NULL, key_hash BLOB NOT NULL, fingerprint TEXT NOT NULL, request_id TEXT NOT NULL, at INTEGER NOT NULL,
  is_over INTEGER NOT NULL, status INTEGER, headers TEXT, body BLOB, file TEXT, digest TEXT, bytes INTEGER NOT NULL,
  PRIMARY KEY (token_id, key_hash)
) STRICT;
CREATE INDEX IF NOT EXISTS claims_by_age ON claims (at);
CREATE INDEX IF NOT EXISTS claims_of_token ON claims (token_id, at);
CREATE INDEX IF NOT EXISTS claims_with_answer ON claims (token_id, at) WHERE bytes > 0;
CREATE INDEX IF NOT EXISTS claims_running ON claims (at) WHERE is_over = 0;
CREATE INDEX IF NOT EXISTS claims_in_files ON claims (file) WHERE file IS NOT NULL;
CREATE TABLE IF NOT EXISTS claim_sums (
  token_id TEXT PRIMARY KEY, keys INTEGER NOT NULL, bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`

/**
 * The sums of each token, and of all under an empty name: the database itself keeps them, so that no crash can part
 * them from the rows.
 */
const SUMS = `
CREATE TRIGGER IF NOT EXISTS claim_added AFTER INSERT ON claims BEGIN
  INSERT INTO claim_sums VALUES (NEW.token_id, 1, NEW.bytes), ('', 1, NEW.bytes)
    ON CONFLICT DO UPDATE SET keys = keys + excluded.keys, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER IF NOT EXISTS claim_removed AFTER DELETE ON claims BEGIN
  UPDATE claim_sums SET keys = keys - 1, bytes = bytes - OLD.bytes WHERE token_id IN (OLD.token_id, '');
  DELETE FROM claim_sums WHERE token_id = OLD.token_id AND keys = 0;
END;
CREATE TRIGGER IF NOT EXISTS claim_changed AFTER UPDATE OF bytes ON claims BEGIN
  UPDATE claim_sums SET bytes = bytes + NEW.bytes - OLD.bytes WHERE token_id IN (NEW.token_id, '');
END;
`

/** What stands for a client's key: the key itself may be a secret of its own. */
export function keyHashOf(tokenId: string, key: string): Buffer {
  return hash('sha256', `${tokenId}\0${key}`, 'buffer')
}

/** The tables of idempotency keys, which the first ledgers did not have; takes over what older ones hold. */
export function addClaims(db: Sqlite): void {
  db.exec(CLAIMS + SUMS)
  if (hasTable(db, 'keys')) takeOver(db)
  // Free pages still hold the keys as they were sent, and answers up to 1 MiB.
  if (db.prepare(`SELECT 1 FROM meta WHERE key = 'mustVacuum'`).get() === undefined) return
  try {
    db.exec(`VACUUM; PRAGMA wal_checkpoint(TRUNCATE); DELETE FROM meta WHERE key = 'mustVacuum'`)
  } catch {
    // It needs as much disk as is in use; without it the pages are used again one by one, and the next start tries again.
  }
}

/** Takes the table `keys` over: small answers are given again, a larger one's key stays used. */
function takeOver(db: Sqlite): void {
  db.function('key_hash', (tokenId, key) => keyHashOf(String(tokenId), String(key)))
  const size = 'length(body) + length(headers)'
  const isSmall = `ifnull(length(body) <= ${SMALL_ANSWER_BYTES}, 0)`
  const kept = ['status', 'headers', 'body'].map((name) => `iif(${isSmall}, ${name}, NULL)`)
  prepareTransaction(db)(() => {
    db.exec(`INSERT OR IGNORE INTO claims SELECT token_id, key_hash(token_id, key), fingerprint, request_id, at, is_over,
      ${kept.join(', ')}, NULL, NULL, iif(${isSmall}, ${size}, 0) FROM keys`)
    db.exec(`DROP TABLE keys; INSERT OR REPLACE INTO meta VALUES ('mustVacuum', '1')`)
  })
}
