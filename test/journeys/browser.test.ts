import t from 'tap'
import { findBrowser, startSite } from '../support/browser.ts'
import { mintToken } from '../support/gateway.ts'
import { echoUsage, realtimeScene } from '../support/realtime-scene.ts'

const browser = findBrowser()

/** Connects as docs/streaming.md shows, asks once, and reports how it went. */
const pageScript = (url: string, token: string): string => `
const seen = { protocol: undefined, types: [] }
const socket = new WebSocket(${JSON.stringify(url)}, ['realtime', 'openai-insecure-api-key.${token}'])
socket.onopen = () => {
  seen.protocol = socket.protocol
  socket.send(JSON.stringify({ type: 'response.create' }))
}
socket.onmessage = ({ data }) => {
  const { type } = JSON.parse(data)
  seen.types.push(type)
  if (type === 'response.done') socket.close(1000)
}
socket.onclose = ({ code }) => report({ ...seen, code })
`

t.test(
  'a page of an allowed origin talks to a realtime model, a page of another origin is refused',
  browser === undefined ? { skip: 'no browser found: apt-get install chromium' } : {},
  async (t) => {
    let script = ''
    const site = await startSite(t, { browser: browser ?? '', script: () => script })
    const { gateway, url, provider } = await realtimeScene(t, echoUsage(100, 20), {
      env: { CORS_ALLOWLIST: `http://127.0.0.1:${site.port}` },
    })
    const token = await mintToken(t, gateway)
    script = pageScript(url.replace('http', 'ws'), token)
    t.same(await site.visit('127.0.0.1'), {
      protocol: 'realtime',
      types: ['response.created', 'response.output_text.delta', 'response.done'],
      code: 1000,
    })
    t.match(provider.seen[0]?.headers.authorization, 'Bearer key-of-main')
    t.notOk(JSON.stringify(provider.seen[0]?.rawHeaders).includes(token))
    t.match(await gateway.waitForLine(({ status }) => status === 101), {
      chargedMicros: 180e6,
      closeCode: 1000,
    })
    t.same(await site.visit('localhost'), { types: [], code: 1006 }, 'it never opened')
    t.match(await gateway.waitForLine(({ status }) => status === 403), { error: 'origin_not_allowed' })
    t.equal(provider.seen.length, 1)
  },
)
