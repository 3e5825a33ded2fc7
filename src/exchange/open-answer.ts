import type { Bill } from '../billing/bill.ts'
import type { Step } from '../routing/plan.ts'
import type { Answer, AnswerHead, AnswerOwner } from './answer.ts'
import { PlainAnswer } from './answer-plain.ts'
import { StreamAnswer } from './answer-stream.ts'
import type { PaidRequest } from './paid-request.ts'
import type { Shared } from './shared.ts'

/** Whatever the client asked for, the provider's media type decides how its answer passes. */
export const isStream = ({ status, headers }: AnswerHead): boolean =>
  status < 300 && /^text\/event-stream/i.test(String(headers['content-type']))

interface Answering {
  paid: PaidRequest
  step: Step
  head: AnswerHead
  shared: Shared
  bill: Bill
}

/** The way of one provider's answer to the client. */
export const openAnswer = (exchange: AnswerOwner, { paid, step, head, shared, bill }: Answering): Answer => {
  const { endpoint, ask, downstream, hold, token } = paid
  const context = {
    exchange,
    endpoint,
    ask,
    downstream,
    status: head.status,
    headers: head.headers,
    price: step.model.price,
    heldMicros: hold.micros,
    key: token.id,
    shared,
    bill,
  }
  if (!isStream(head)) return new PlainAnswer(context)
  return new StreamAnswer(context, ask.mustAskForUsage && step.provider.usageOption)
}
