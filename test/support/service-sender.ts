import { Deadlines } from '../../src/deadlines.ts'
import type { Sent, ServiceRequest } from '../../src/upstream/service-call.ts'
import { type Attempt, openUpstreams, type Upstreams } from '../../src/upstream/upstreams.ts'
import type { Owner } from './waiting.ts'

/** Everything that was reported of one request. */
export interface Outcome {
  informed: { status: number; headers: string[] }[]
  status?: number
  headers?: string[]
  reason?: string
  text: string
  trailers?: string[]
  error?: Error & { code?: string }
  sent?: Sent
}

export interface Asked {
  attempt: Attempt
  outcome: Outcome
  done: Promise<Outcome>
  answered: Promise<Outcome>
}

export interface Sender {
  upstreams: Upstreams
  send(origin: string, special?: Partial<ServiceRequest>): Asked
}

/** Sends requests as the forwarder does, and collects what comes of them. */
export function openSender(t: Owner, connectTimeoutMs = 5_000): Sender {
  const upstreams = openUpstreams({ connectTimeoutMs }, new Deadlines())
  t.teardown(() => upstreams.close())
  return { upstreams, send: (origin, special) => sendBy(upstreams, origin, special) }
}

export function sendBy(upstreams: Upstreams, origin: string, special: Partial<ServiceRequest> = {}): Asked {
  const outcome: Outcome = { informed: [], text: '' }
  const done = Promise.withResolvers<Outcome>()
  const answered = Promise.withResolvers<Outcome>()
  const request: ServiceRequest = {
    method: 'GET',
    path: '/x',
    headers: [],
    body: undefined,
    firstByteMs: 5_000,
    idleMs: 5_000,
    ...special,
  }
  const attempt = upstreams.send(origin, request, {
    informed(status, headers) {
      outcome.informed.push({ status, headers })
    },
    answered(status, headers, reason) {
      Object.assign(outcome, { status, headers, reason })
      answered.resolve(outcome)
    },
    data(bytes) {
      outcome.text += bytes.toString('latin1')
    },
    ended(trailers) {
      outcome.trailers = trailers
      done.resolve(outcome)
    },
    failed(error, sent) {
      Object.assign(outcome, { error, sent })
      done.resolve(outcome)
    },
  })
  return { attempt, outcome, done: done.promise, answered: answered.promise }
}
