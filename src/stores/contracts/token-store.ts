import type { Accounts } from './accounts.ts'
import type { Places } from './places.ts'
import type { StoreSizes } from './sizes.ts'
import type { Tokens } from './tokens.ts'
import type { UsageRows } from './usage-rows.ts'

/** The contracts that a driver keeps as one: rooms take the one that they need. */
export interface TokenStore extends Tokens, Accounts, Places, UsageRows {
  /** Whether the last write succeeded: `GET /ready`. */
  isReady(): boolean
  /** Cheap: no file is read for it and no table counted. Never throws. */
  sizes(): Promise<StoreSizes>
  close(): Promise<void>
}
