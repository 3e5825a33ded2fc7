import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Deadlines } from '../../src/deadlines.ts'
import { get } from '../../src/upstream/get.ts'
import { openUpstreams } from '../../src/upstream/upstreams.ts'
import { createWaiting, type Owner } from './waiting.ts'

/** A server of public keys that does as it is told. */
export interface JwksServer {
  url: string
  /** How often it was asked. */
  asked(): number
  whenAsked(times: number): Promise<unknown>
  /** From now on it says this, as it is; `undefined`: nothing, it hangs. */
  say(body: object | string | undefined, status?: number): void
  /** Answers those that hang. */
  release(): void
  /** It is gone: nobody listens there. */
  goAway(): Promise<void>
  comeBack(): Promise<void>
  /** Fetches over the gateway's way out, as the gateway does. */
  fetchText(url: string): Promise<string>
}

export async function openJwksServer(t: Owner, { timeoutMs = 5_000 } = {}): Promise<JwksServer> {
  let body: object | string | undefined = { keys: [] }
  let status = 200
  let asked = 0
  const waiting = createWaiting()
  const hanging = new Set<ServerResponse>()
  const answer = (response: ServerResponse): void => {
    response.writeHead(status, { 'content-type': 'application/json', location: '/elsewhere' })
    response.end(typeof body === 'string' ? body : JSON.stringify(body))
  }
  const server = createServer((_request, response) => {
    asked += 1
    waiting.check()
    if (body === undefined) hanging.add(response)
    else answer(response)
  })
  const listen = (port: number) => new Promise<void>((done) => server.listen(port, '127.0.0.1', done))
  const goAway = (): Promise<void> => {
    server.closeAllConnections()
    return new Promise((done) => server.close(() => done()))
  }
  await listen(0)
  const { port } = server.address() as AddressInfo
  const upstreams = openUpstreams({ connectTimeoutMs: 1_000 }, new Deadlines())
  t.teardown(() => upstreams.close())
  t.teardown(goAway)
  return {
    url: `http://127.0.0.1:${port}/jwks`,
    asked: () => asked,
    whenAsked: (times) => waiting.until('the keys to be asked for', () => asked >= times || undefined),
    say(next, nextStatus = 200) {
      body = next
      status = nextStatus
    },
    release() {
      for (const response of hanging) answer(response)
      hanging.clear()
    },
    goAway,
    comeBack: () => listen(port),
    async fetchText(url) {
      const got = await get(upstreams, new URL(url), { timeoutMs, maxBytes: 65_536 })
      if (got.status !== 200) throw new Error(`status ${got.status}`)
      return got.body.toString()
    },
  }
}
