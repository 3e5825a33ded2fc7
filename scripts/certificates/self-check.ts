import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type SecureVersion, type TLSSocket } from 'node:tls'
import type { Reached } from './judgement.ts'

/** Traefik hands connections for this name on as they are. No certificate can be ordered for it, nor any DNS lead there. */
export const CHECK_NAME = 'certificate-check.invalid'
export const CHECK_PORT = 8443
const ANSWER_MS = 5000
const MOST_CONNECTIONS = 64
/** Both ends are this process: a key that nobody else has proves it, and no certificate is needed. */
const PROTOCOL = {
  ciphers: 'PSK-AES256-GCM-SHA384',
  minVersion: 'TLSv1.2' as SecureVersion,
  maxVersion: 'TLSv1.2' as SecureVersion,
}
const NO_ANSWER = [
  'ETIMEDOUT',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'EADDRNOTAVAIL',
  'EAFNOSUPPORT',
  'EINVAL',
  'EACCES',
]

/** A server that only this process can greet, behind the edge. */
export interface SelfCheck {
  /** Whether this host and port lead through the edge to this process: the way that the authority's check takes too. */
  reach(host: string, port: number, name?: string): Promise<Reached>
}

/** Listens until the process ends. */
export async function openSelfCheck(port = CHECK_PORT): Promise<SelfCheck & { port: number; close(): void }> {
  const key = randomBytes(32)
  const options = { ...PROTOCOL, pskCallback: () => key, handshakeTimeout: ANSWER_MS }
  const server = createServer(options, (socket) => socket.on('error', () => undefined).end())
  server.maxConnections = MOST_CONNECTIONS
  server.on('tlsClientError', (_error, socket) => socket.destroy())
  server.listen(port)
  await once(server, 'listening')
  const bound = server.address()
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : port,
    close: () => server.close(),
    reach: (host, at, name = CHECK_NAME) => greet(key, { host, port: at, name }),
  }
}

interface Way {
  host: string
  port: number
  name: string
}

async function greet(key: Buffer, { host, port, name }: Way): Promise<Reached> {
  const socket: TLSSocket = connect({
    ...PROTOCOL,
    host,
    port,
    servername: name,
    pskCallback: () => ({ psk: key, identity: 'edge' }),
    checkServerIdentity: () => undefined,
  })
  try {
    await once(socket, 'secureConnect', { signal: AbortSignal.timeout(ANSWER_MS) })
    return 'here'
  } catch (error) {
    return isSilence(error) ? 'silent' : 'elsewhere'
  } finally {
    socket.on('error', () => undefined).destroy()
  }
}

function isSilence(error: unknown): boolean {
  return (
    error instanceof Error &&
    (error.name === 'AbortError' || ('code' in error && NO_ANSWER.includes(String(error.code))))
  )
}
