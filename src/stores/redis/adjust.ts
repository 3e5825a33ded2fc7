import { balanceTooSmall, idempotencyMismatch } from '../../errors.ts'
import { checkAdjustment } from '../contracts/token-changes.ts'
import { type Adjustment, OPERATION_MEMORY_MS } from '../contracts/token-store.ts'
import { runCopied } from './copied.ts'
import type { Tools } from './tools.ts'

const MEMORY_SECONDS = 2 * Math.ceil(OPERATION_MEMORY_MS / 1000)

/** Tops up or takes away in one step, once for each operation id; whether there is such a token. */
export async function adjust({ link, scripts, keys }: Tools, adjustment: Adjustment): Promise<boolean> {
  const { operationId, tokenId, micros } = adjustment
  checkAdjustment(adjustment)
  const touched = [keys.account(tokenId), keys.operation(operationId)]
  const args = [tokenId, micros, Number.MAX_SAFE_INTEGER, MEMORY_SECONDS]
  const answer = await runCopied(link, scripts.adjust, touched, args)
  if (answer === 'small') throw balanceTooSmall('The free balance does not cover what is to be taken')
  if (answer === 'other') throw idempotencyMismatch('This operation id stands for another change')
  if (answer === 'much') throw new RangeError('that would be more credits than can be counted')
  return answer === 'ok'
}
