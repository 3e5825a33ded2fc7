import type { Tokens } from '../stores/contracts/tokens.ts'
import { hashSecret, makeSecret, prefixOf } from './client.ts'

/** The master token may spend this many credits: in effect, without end. */
const MASTER_CREDITS = 1_000_000_000

type Masters = Pick<Tokens, 'master' | 'putMaster'>

/** Makes this secret the operator's token, in place of an earlier one. */
export async function putMaster(tokens: Masters, secret: string): Promise<void> {
  await tokens.putMaster({
    hash: hashSecret(secret),
    prefix: prefixOf(secret),
    type: 'admin',
    user: 'master',
    name: 'master',
    models: [],
    creditedMicros: MASTER_CREDITS * 1e6,
  })
}

/** The operator's token of the very first start, returned to be shown once; undefined when there is one. */
export async function makeMaster(tokens: Masters): Promise<string | undefined> {
  if (await tokens.master()) return undefined
  const secret = makeSecret()
  await putMaster(tokens, secret)
  return secret
}
