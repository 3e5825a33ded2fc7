import type { BilledRequest } from '../billing/bill.ts'
import type { Step } from '../routing/plan.ts'
import type { Downstream } from './downstream.ts'

/** One paid request, held and planned, about to be asked: made once, and handed on as it is. */
export interface PaidRequest extends BilledRequest {
  steps: readonly Step[]
  downstream: Downstream
}
