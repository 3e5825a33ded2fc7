import { kindOf, readEventUsage, readType } from '../dialects/openai-realtime.ts'
import { GatewayError, modelNotAllowed } from '../errors.ts'
import { parseJson } from '../json.ts'
import { EVENT_FIELDS } from '../request/guarded-fields.ts'
import { JsonScan } from '../request/json-scan.ts'
import type { FoundField } from '../request/json-tokens.ts'
import { hostsOf, maskPrivate } from '../upstream/private-text.ts'
import { OPCODES, writeFrame } from '../websocket/frames.ts'
import type { MessageInspector } from '../websocket/message-copy.ts'
import type { RealtimeBill } from './socket-bill.ts'

/** A client's `type` is found in its first bytes; a message that does not show it there may be any. */
const CLIENT_HEAD_BYTES = 1024
export const UPSTREAM_HEAD_BYTES = 64 * 1024
const UPSTREAM_TAIL_BYTES = 16 * 1024

/** The next response is not paid for: nothing more may pass. */
type RunDry = (why?: unknown) => void

function endIf(runDry: RunDry) {
  return (why: unknown) => {
    if (why !== undefined) runDry(why)
  }
}

function coverOr(bill: RealtimeBill, runDry: RunDry): Promise<void> | undefined {
  return bill.cover()?.then(endIf(runDry))
}

function mayAsk(type: string | undefined): boolean {
  return type === undefined || kindOf(type) === 'ask'
}

/** What became of a message that may not pass: its socket is closed meanwhile. */
const NEVER = new Promise<void>(() => {})

export interface ClientRules {
  bill: RealtimeBill
  runDry: RunDry
  /** Closes the socket before the message's last byte has left. */
  forbid(why: GatewayError): void
  /** The model as the client and as the provider names it. */
  models: readonly string[]
}

/**
 * Before a client's `response.create` passes, the response is paid for. What names another model, has two readings of
 * what decides that, or cannot be read as a JSON object, never arrives as a whole, however far back it shows.
 */
export class ClientInspector implements MessageInspector {
  readonly headBytes = CLIENT_HEAD_BYTES
  readonly tailBytes = 0
  readonly #rules: ClientRules
  #scan = new JsonScan(EVENT_FIELDS)
  #isForbidden = false
  #looked = 0
  /** Its `type`; undefined: it does not say, or not yet. */
  #named: string | undefined

  constructor(rules: ClientRules) {
    this.#rules = rules
  }

  begin(): void {
    if (this.#isForbidden) return
    this.#scan = new JsonScan(EVENT_FIELDS)
    this.#looked = 0
    this.#named = undefined
  }

  read(piece: Buffer): void {
    if (this.#isForbidden) return
    try {
      this.#scan.push(piece)
    } catch (error) {
      // What is no JSON here may be an event to a more lenient reader.
      if (!(error instanceof GatewayError)) throw error
      return this.#forbid(error)
    }
    const { found } = this.#scan
    for (; this.#looked < found.length; this.#looked += 1) this.#look(found[this.#looked])
  }

  gate(): Promise<void> | undefined {
    if (this.#isForbidden) return NEVER
    return mayAsk(this.#named) ? coverOr(this.#rules.bill, this.#rules.runDry) : undefined
  }

  passed(head: Buffer, _tail: Buffer, bytes: number): void {
    if (!this.#isForbidden) this.#rules.bill.sent(this.#named, head, bytes)
  }

  #look(field: FoundField | undefined): void {
    const name = parseJson(field?.text ?? '')
    if (field?.path === 'type' && typeof name === 'string') this.#named = name
    if (!field || !MODEL_PATHS.includes(field.path) || field.text === 'null') return
    if (typeof name === 'string' && this.#rules.models.includes(name)) return
    const { path: param } = field
    this.#forbid(
      modelNotAllowed(`"${param}" must be the model that this socket was opened for; open another socket`, {
        param,
      }),
    )
  }

  #forbid(why: GatewayError): void {
    if (this.#isForbidden) return
    this.#isForbidden = true
    this.#rules.forbid(why)
  }
}

const MODEL_PATHS: readonly string[] = ['model', 'session.model', 'response.model']

/** What failed, told by an event of its own or in one that ends a response. */
function tellsFailure(type: string | undefined, head: Buffer): boolean {
  return (
    type === 'error' || type === 'response.failed' || (type === 'response.done' && head.includes('"failed"'))
  )
}

/** The words of failures name no account and no host of the operator's: an event that does is written anew. */
export class FailureWords {
  readonly #hosts: readonly string[]
  #instead: Buffer | undefined

  /** `origin` is where they come from. */
  constructor(origin: string) {
    this.#hosts = hostsOf(origin)
  }

  /** A promise where something is to pass in its place. */
  gate(type: string | undefined, head: Buffer): Promise<void> | undefined {
    if (!tellsFailure(type, head)) return undefined
    const clean = maskPrivate(head, this.#hosts)
    // A part of an event cannot be replaced.
    if (clean === head || parseJson(head.toString()) === undefined) return undefined
    this.#instead = writeFrame(OPCODES.text, clean, false)
    return Promise.resolve()
  }

  take(): Buffer | undefined {
    const instead = this.#instead
    this.#instead = undefined
    return instead
  }
}

/** A response that begins by itself (server VAD) is paid for before the client hears of it; one that ends is charged. */
export function inspectUpstream(bill: RealtimeBill, runDry: RunDry, origin: string): MessageInspector {
  const words = new FailureWords(origin)
  return {
    headBytes: UPSTREAM_HEAD_BYTES,
    tailBytes: UPSTREAM_TAIL_BYTES,
    gate(head) {
      const type = readType(head)
      return kindOf(type) === 'begun' ? coverOr(bill, runDry) : words.gate(type, head)
    },
    instead: () => words.take(),
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
  }
}
