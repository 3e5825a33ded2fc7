import { type IncomingMessage, request } from 'node:http'
import { json } from 'node:stream/consumers'
import { openDoorPath } from '../../src/admin/door-path.ts'
import type { TokenView } from '../../src/admin/token-schemas.ts'
import type { TokenWork } from '../../src/admin/token-work.ts'
import { Failure, NoAnswer } from '../command/failures.ts'

const TIMEOUT_MS = 10_000

/** What the command needs of a store, whether a server stands before it or not. */
export interface Tokens extends Omit<TokenWork, 'pages'> {
  close(): Promise<void>
}

/** Nobody listens: there is no socket, or an earlier server has left it behind. */
export class NoServer extends Error {}

interface Ask {
  method: string
  path: string
  body?: unknown
}

/** The tokens through the running server. */
export function tokensOfServer(dbDir: string): Tokens {
  const ask = async (method: string, path: string, body?: unknown) =>
    (await askDoor(dbDir, { method, path, body })) as TokenView
  const pathOf = (id: string) => `/tokens/${encodeURIComponent(id)}`
  return {
    mint: (token) => ask('POST', '/tokens', token),
    list: async () => {
      const { tokens } = (await askDoor(dbDir, { method: 'GET', path: '/tokens' })) as { tokens: TokenView[] }
      return tokens
    },
    revoke: (id) => ask('DELETE', pathOf(id)),
    disable: (id) => ask('PUT', `${pathOf(id)}/disabled`),
    enable: (id) => ask('DELETE', `${pathOf(id)}/disabled`),
    adjust: (id, change) => ask('POST', `${pathOf(id)}/credits`, change),
    rotate: (id, secret) => ask('POST', `${pathOf(id)}/secret`, secret),
    close: async () => undefined,
  }
}

async function askDoor(dbDir: string, ask: Ask): Promise<unknown> {
  const door = openPath(dbDir)
  try {
    const answer = await send(door.path, ask)
    if (answer.headers['x-gateway-door'] === undefined) {
      answer.destroy()
      throw foreign(dbDir)
    }
    const body: unknown = await json(answer)
    if (answer.statusCode !== undefined && answer.statusCode < 300) return body
    throw new Failure((body as { error: { message: string } }).error.message)
  } catch (error) {
    throw explain(error, dbDir)
  } finally {
    door.release()
  }
}

function openPath(dbDir: string) {
  try {
    const door = openDoorPath(dbDir)
    if (door !== undefined) return door
  } catch {
    // No folder: no server.
  }
  throw new NoServer()
}

function send(socketPath: string, { method, path, body }: Ask): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const headers = text === undefined ? {} : { 'content-type': 'application/json' }
    // A long list may take longer, as long as it comes.
    const sent = request({ socketPath, method, path, headers, timeout: TIMEOUT_MS, agent: false }, resolve)
    sent
      .on('timeout', () => sent.destroy(new Error(`silent for ${TIMEOUT_MS / 1000} s`)))
      .on('error', reject)
      .end(text)
  })
}

function foreign(dbDir: string): Failure {
  return new Failure(
    `What listens on gateway.sock in "${dbDir}" is no gateway of this kind: nothing was changed`,
  )
}

function explain(error: unknown, dbDir: string): unknown {
  if (error instanceof Failure || !(error instanceof Error)) return error
  const code = 'code' in error ? String(error.code) : ''
  if (['ENOENT', 'ECONNREFUSED', 'ENOTDIR'].includes(code)) return new NoServer()
  if (code === 'EACCES') return new Failure(`The server's socket in "${dbDir}" is another user's`)
  if (code.startsWith('HPE_')) return foreign(dbDir)
  return new NoAnswer(
    `The server in "${dbDir}" did not answer (${error.message}): look at --list before trying again`,
  )
}
