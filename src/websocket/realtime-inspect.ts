import { kindOf, readEventUsage, readType } from '../metering/realtime.ts'
import type { MessageInspector } from './message-copy.ts'
import type { RealtimeBill } from './realtime-bill.ts'

/** A client's `type` is found in its first bytes; a message that does not show it there may be any. */
const CLIENT_HEAD_BYTES = 1024
const UPSTREAM_HEAD_BYTES = 64 * 1024
const UPSTREAM_TAIL_BYTES = 16 * 1024

/** The next response is not paid for: nothing more may pass. */
type RunDry = (why?: unknown) => void

const endIf = (runDry: RunDry) => (why: unknown) => {
  if (why !== undefined) runDry(why)
}

const coverOr = (bill: RealtimeBill, runDry: RunDry): Promise<void> | undefined =>
  bill.cover()?.then(endIf(runDry))

const mayAsk = (type: string | undefined): boolean => type === undefined || kindOf(type) === 'ask'

/** Before a client's `response.create` passes, the response is paid for. */
export const inspectClient = (bill: RealtimeBill, runDry: RunDry): MessageInspector => ({
  headBytes: CLIENT_HEAD_BYTES,
  tailBytes: 0,
  gate: (head) => (mayAsk(readType(head)) ? coverOr(bill, runDry) : undefined),
  passed: (head, _tail, bytes) => bill.sent(readType(head), head, bytes),
})

/** A response that begins by itself (server VAD) is paid for before the client hears of it; one that ends is charged. */
export const inspectUpstream = (bill: RealtimeBill, runDry: RunDry): MessageInspector => ({
  headBytes: UPSTREAM_HEAD_BYTES,
  tailBytes: UPSTREAM_TAIL_BYTES,
  gate: (head) => (kindOf(readType(head)) === 'begun' ? coverOr(bill, runDry) : undefined),
  passed(head, tail, bytes) {
    const type = readType(head)
    const kind = kindOf(type)
    if (kind === 'begun') bill.begin()
    if (kind === 'done') bill.end(readEventUsage(kind, { head, tail, bytes }))
    if (kind === 'transcribed') {
      const usage = readEventUsage(kind, { head, tail, bytes })
      if (usage) void bill.charge(usage).then(endIf(runDry))
    }
    if (kind !== 'other') return
    bill.received(type, bytes)
    bill.weigh(runDry)
  },
})
