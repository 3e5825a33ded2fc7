import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ServerCertificate } from './certificates.ts'
import type { Owner } from './waiting.ts'

/** One `CONNECT` that a proxy has seen. */
export interface SeenTunnel {
  /** What was asked for, such as `api.example.com:443`. */
  target: string
  headers: IncomingMessage['headers']
}

/** A real proxy on loopback: what it does not know by name it does not reach. */
export interface OutgoingProxy {
  /** With the credentials, if it asks for some. */
  url: string
  port: number
  tunnels: SeenTunnel[]
  /** Requests in the absolute form, which it never carries. */
  requests: string[]
  /** Of clients, whether a tunnel stands on them or not. */
  connections(): number
  /** Answers every further `CONNECT` with this status, or not at all; undefined: carries it. */
  refuse(status: number | 'silence' | undefined): void
  close(): void
}

export interface OutgoingProxyOptions {
  /** The port on loopback that each name leads to. */
  names: Record<string, number>
  /** Credentials that are asked for, `user:password`, and how they stand in its URL. */
  auth?: { text: string; inUrl: string }
  tls?: ServerCertificate
}

export async function startOutgoingProxy(t: Owner, options: OutgoingProxyOptions): Promise<OutgoingProxy> {
  const { names, auth, tls } = options
  const [tunnels, requests, sockets]: [SeenTunnel[], string[], Set<Duplex>] = [[], [], new Set()]
  let refusal: number | 'silence' | undefined
  const wanted = auth && `Basic ${Buffer.from(auth.text).toString('base64')}`

  function carry({ url: target = '', headers }: IncomingMessage, near: Duplex): void {
    tunnels.push({ target, headers })
    near.on('error', () => near.destroy())
    const status = headers['proxy-authorization'] === wanted ? refusal : 407
    const port = Reflect.get(names, target.replace(/:\d+$/, ''))
    // It is read all the same, to see it close.
    if (status === 'silence') return void near.resume().once('end', () => near.destroy())
    if (status !== undefined || port === undefined) return refuse(near, status ?? 502)
    const far = connect(port, '127.0.0.1')
    far.once('connect', () => join(near, far)).once('error', () => refuse(near, 502))
  }

  function refuse(near: Duplex, status: number): void {
    near.end(`HTTP/1.1 ${status} Refused\r\nproxy-authenticate: Basic\r\ncontent-length: 6\r\n\r\nno way`)
  }

  function join(near: Duplex, far: Socket): void {
    near.once('close', () => far.destroy())
    far.on('error', () => near.destroy()).once('close', () => near.destroy())
    near.write('HTTP/1.1 200 Connection established\r\nvia: 1.1 test\r\n\r\n')
    near.pipe(far).pipe(near)
  }

  const server = tls ? createTlsServer(tls) : createServer()
  server.on('request', (request, response) => {
    requests.push(request.url ?? '')
    response.writeHead(405).end()
  })
  server.on('connect', carry)
  server.on('connection', (socket: Duplex) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = (): void => {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
  t.teardown(close)
  const { port } = server.address() as AddressInfo
  const url = `${tls ? 'https' : 'http'}://${auth ? `${auth.inUrl}@` : ''}127.0.0.1:${port}`
  return {
    url,
    port,
    tunnels,
    requests,
    connections: () => sockets.size,
    close,
    refuse(status) {
      refusal = status
    },
  }
}
