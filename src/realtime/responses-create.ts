import { GatewayError, invalidRequest } from '../errors.ts'
import { CREATE_FIELDS } from '../request/guarded-fields.ts'
import { JsonFields } from '../request/json-fields.ts'
import { JsonScan } from '../request/json-scan.ts'
import type { Lease } from '../request/shared-bytes.ts'
import type { MessageInspector } from '../websocket/message-copy.ts'
import { MAX_MESSAGE_BYTES } from '../websocket/relay.ts'

/** A client's whole message, which nothing has passed of. */
export interface CreateEvent {
  bytes: Buffer
  type: unknown
  /** It goes on from an answer that is not in it. */
  goesOn: boolean
  /** Why it cannot be read. */
  mistake: GatewayError | undefined
  /** Where its bytes are counted; to be released by whoever judges it. */
  lease: Lease
}

export interface CreateRules {
  /** Opens the part of one message. */
  openLease(): Lease
  /** What passes in the message's place; undefined: the message itself. It never rejects. */
  judge(event: CreateEvent): Promise<Buffer | undefined>
  /** There is no memory for it. */
  overflow(): void
}

/** A client's messages are requests: each is held back until it is here as a whole, judged and held for. */
export class CreateInspector implements MessageInspector {
  readonly headBytes = MAX_MESSAGE_BYTES + 1
  readonly tailBytes = 0
  readonly #rules: CreateRules
  #scan = new JsonScan(CREATE_FIELDS)
  #mistake: GatewayError | undefined
  #lease: Lease | undefined
  #instead: Buffer | undefined

  constructor(rules: CreateRules) {
    this.#rules = rules
  }

  begin(): void {
    this.#scan = new JsonScan(CREATE_FIELDS)
    this.#mistake = undefined
    this.#lease = this.#rules.openLease()
  }

  read(piece: Buffer): void {
    if (!this.#lease?.takeIfRoom(piece.length)) return this.#rules.overflow()
    this.#try(() => this.#scan.push(piece))
  }

  async gate(bytes: Buffer): Promise<void> {
    const fields = new JsonFields(this.#scan)
    this.#try(() => {
      this.#scan.end()
      if (fields.find('response') === undefined) return
      throw invalidRequest('Write what "response" holds beside "type": model, input and the like', {
        param: 'response',
      })
    })
    const lease = this.#lease ?? this.#rules.openLease()
    this.#lease = undefined
    this.#instead = await this.#rules.judge({
      bytes,
      type: fields.value('type'),
      goesOn: fields.value('previous_response_id') !== undefined,
      mistake: this.#mistake,
      lease,
    })
  }

  instead(): Buffer | undefined {
    return this.#instead
  }

  passed(): void {
    this.#instead = undefined
  }

  /** Of a message that comes no more. */
  close(): void {
    this.#lease?.release()
    this.#lease = undefined
  }

  #try(step: () => void): void {
    if (this.#mistake) return
    try {
      step()
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      this.#mistake = error
    }
  }
}
