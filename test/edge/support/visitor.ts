import { once } from 'node:events'
import { type IncomingMessage, request as plainRequest } from 'node:http'
import { Agent, request } from 'node:https'
import { connect, type PeerCertificate, type TLSSocket } from 'node:tls'
import { type OpenStream, type Reply, readAll, type Sent, streamOf } from '../../support/client.ts'
import { CLIENT_ADDRESSES, EDGE_ADDRESS } from './engine.ts'

/** Somebody out there, with an address of their own, who trusts the authority's root. */
export interface Visitor {
  /** Over HTTPS to the published port, by this name. */
  ask(name: string, sent: Sent): Promise<Reply>
  open(name: string, sent: Sent): Promise<OpenStream>
  /** Over plain HTTP to port 80. */
  plain(name: string, sent: Sent): Promise<Reply>
  /** The certificate shown for the name; undefined when there is none that the root vouches for. */
  certificate(name: string): Promise<PeerCertificate | undefined>
}

export interface Client {
  root: string
  localAddress: string
  /** Another edge than the deployed one. */
  host?: string
  port?: number
  /** Connections to use again; without it each request has its own. */
  agent?: Agent
}

export const visitor = (root: string, localAddress = CLIENT_ADDRESSES[0] ?? ''): Visitor =>
  visitorAs({ root, localAddress })

/** Somebody who keeps connections open, as SDKs do. */
export const busyVisitor = (root: string, localAddress = CLIENT_ADDRESSES[1] ?? ''): Visitor =>
  visitorAs({ root, localAddress, agent: new Agent({ keepAlive: true }) })

export const visitorAs = (client: Client): Visitor => {
  return {
    ask: async (name, sent) => readAll((await begin(client, name, sent)).incoming),
    open: async (name, sent) => streamOf(await begin(client, name, { method: 'POST', ...sent })),
    plain: async (name, { method = 'GET', path, headers = {} }) => {
      const target = { host: EDGE_ADDRESS, port: 80, localAddress: client.localAddress, agent: false }
      const sending = plainRequest({ ...target, method, path, headers: { host: name, ...headers } }).end()
      const [incoming] = (await once(sending, 'response')) as [IncomingMessage]
      return readAll(incoming)
    },
    certificate: (name) => readCertificate(client, name),
  }
}

/** The request whose body the caller writes, to the edge by this name. */
export const beginRequest = (client: Client, name: string, { method = 'POST', path, headers = {} }: Sent) =>
  request({
    host: client.host ?? EDGE_ADDRESS,
    port: client.port ?? 443,
    servername: name,
    ca: client.root,
    localAddress: client.localAddress,
    agent: client.agent ?? false,
    method,
    path,
    headers: { host: name, ...headers },
  })

async function begin(client: Client, name: string, sent: Sent) {
  const { body } = sent
  const isBytes = typeof body === 'string' || Buffer.isBuffer(body)
  const bytes = Buffer.from(body === undefined ? '' : isBytes ? body : JSON.stringify(body))
  const framing = { 'content-type': 'application/json', 'content-length': bytes.length }
  const headers = { ...(body === undefined ? {} : framing), ...sent.headers }
  const sending = beginRequest(client, name, { ...sent, method: sent.method ?? 'GET', headers })
  sending.end(bytes)
  const [incoming] = (await once(sending, 'response')) as [IncomingMessage]
  sending.on('error', () => undefined)
  return { sending, incoming }
}

async function readCertificate(client: Client, name: string): Promise<PeerCertificate | undefined> {
  const { root: ca, localAddress } = client
  const socket: TLSSocket = connect({
    host: client.host ?? EDGE_ADDRESS,
    port: client.port ?? 443,
    servername: name,
    ca,
    ...{ localAddress },
  })
  try {
    await once(socket, 'secureConnect')
    return socket.getPeerCertificate()
  } catch {
    return undefined
  } finally {
    socket.destroy()
  }
}
