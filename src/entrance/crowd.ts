import type { Socket } from 'node:net'
import fp from 'fastify-plugin'
import { gatewayBusy } from '../errors.ts'
import { clientErrorHandler } from './error-reply.ts'

/** The last descriptors are for what runs: connections to providers, uploads, the store's files. */
const SPARED_SHARE = 1 / 8
const MOST_SPARED = 128
/** Whoever is only to be told to come again does so soon, or goes. */
const PATIENCE_MS = 5_000
const TELL_EVERY_MS = 60_000

const TOO_MANY = 'The gateway has too many connections right now; send the request again in a moment'

const WAY_OUT =
  'raise "ulimit -n" (systemd: LimitNOFILE=, Docker: --ulimit nofile=), or have fewer clients at once'

export interface CrowdOptions {
  /** Undefined: nobody knows, and there is no limit to keep clear of. */
  mostFiles: number | undefined
}

/**
 * A connection that takes one of the last descriptors is told 503, by the answer to its request: at the limit itself the
 * system would close it without a word, and nothing that runs could ask a provider any more. After `drain`.
 */
export const crowd = fp<CrowdOptions>(
  async (app, { mostFiles }) => {
    if (mostFiles === undefined) return
    const spared = Math.min(MOST_SPARED, Math.ceil(mostFiles * SPARED_SHARE))
    const last = mostFiles - spared
    const veryLast = mostFiles - Math.floor(spared / 2)
    const late = new WeakSet<Socket>()
    let isCrowded = false
    let toldAt = Number.NEGATIVE_INFINITY
    app.server.on('connection', (socket: Socket) => {
      // The lowest number that is free is always the one taken.
      const descriptor = descriptorOf(socket)
      if (descriptor < last) return
      if (!isCrowded)
        app.drain.sendAway(({ raw }) => (late.has(raw.socket) ? gatewayBusy(TOO_MANY) : undefined))
      isCrowded = true
      late.add(socket)
      socket.setTimeout(PATIENCE_MS)
      // Nobody who waits may take these: what runs needs them.
      if (descriptor >= veryLast) clientErrorHandler(gatewayBusy(TOO_MANY), socket)
      const now = performance.now()
      if (now - toldAt < TELL_EVERY_MS) return
      toldAt = now
      const text = 'nearly all file descriptors are taken: new connections are answered 503'
      app.log.error({ limit: mostFiles, way: WAY_OUT }, text)
    })
  },
  { name: 'crowd', dependencies: ['drain'] },
)

function descriptorOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle')
  const descriptor: unknown = typeof handle === 'object' && handle ? Reflect.get(handle, 'fd') : undefined
  return typeof descriptor === 'number' ? descriptor : -1
}
