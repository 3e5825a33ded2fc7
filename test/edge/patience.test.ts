import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { chat } from '../support/answers.ts'
import { json } from '../support/behaviour.ts'
import { bearer, readAll } from '../support/client.ts'
import { BOUNDARY, formBody, formType, TRANSCRIPT } from '../support/form.ts'
import { ask } from '../support/scene.ts'
import { type Controlled, controlled } from '../support/stream-behaviours.ts'
import { ALL_NAMES, DOMAINS, untilHealthy } from './support/deployment.ts'
import { type Edge, openEdge, untilCertified, untilServing } from './support/edge.ts'
import { CLIENT_ADDRESSES, whyNoEngine } from './support/engine.ts'
import { poll } from './support/shell.ts'
import { beginRequest } from './support/visitor.ts'

/** Longer than every timeout that a proxy or Node has by default. */
const SILENCE_MS = 75_000
const MIB = 1024 * 1024
const FILE_MIB = 299
const [FIRST = '', SECOND = '', THIRD = ''] = DOMAINS

const reason = await whyNoEngine()
if (reason !== undefined) t.plan(0, reason)
else await t.test('the edge is patient', testPatience)

async function testPatience(t: Test) {
  // Due for renewal 40 s after their making: Traefik looks every minute at certificates that live for an hour.
  const settings = {
    ACME_CERTIFICATE_HOURS: '1',
    // The gateway's own patience with clients that pause, 30 s, is not what is tested here.
    BODY_TIMEOUT_MS: '120000',
  }
  const edge = await openEdge(t, { validitySeconds: 1240, settings })
  await edge.compose('up -d --build')
  await untilHealthy('api-gateway-prod')
  const token = await edge.mint()
  const serials = await untilCertified(edge.guest)
  await untilServing(edge, token)
  const running = controlled()
  edge.provider.answer((seen) => {
    if (seen.url.includes('/audio/')) return json(TRANSCRIPT)
    return seen.body.includes('"stream":true') ? running : chat()
  })
  // All of it at once: each of them is slow, none of them is work.
  t.jobs = 4
  const serving = keepAsking(edge, token)
  void t.test('a stream that is silent for 75 s goes on', (t) => silentStream(t, { edge, token, running }))
  void t.test('an upload that pauses for 75 s arrives', (t) => pausedUpload(t, { edge, token }))
  void t.test('an upload of 300 MiB whose model comes last arrives whole', (t) =>
    largeUpload(t, { edge, token }),
  )
  await t.test('all certificates are renewed while requests are served, and none fails', async (t) => {
    const isNew = (now: string[]) => now.every((serial, index) => serial !== serials[index])
    await poll('six new certificates', async () => isNew(await untilCertified(edge.guest)) || undefined, {
      timeoutMs: 300_000,
      everyMs: 1000,
    })
    const { served, failed } = await serving.end()
    t.ok(served > 20, `${served} served`)
    t.same(failed, [])
    t.equal(new Set(await untilCertified(edge.guest)).size, ALL_NAMES.length)
  })
}

interface Patient {
  edge: Edge
  token: string
}

/** Requests by all five names, one after the other, until the end. */
function keepAsking(edge: Edge, token: string) {
  let isOver = false
  const failed: string[] = []
  let served = 0
  const run = async () => {
    while (!isOver) {
      const name = DOMAINS[served % DOMAINS.length]
      const reply = await edge.chat(token, name).catch((error: Error) => ({ status: 0, text: error.message }))
      served++
      if (reply.status !== 200) failed.push(`${name} ${reply.status} ${reply.text}`)
      await sleep(500)
    }
  }
  const running = run()
  const end = async () => {
    isOver = true
    await running
    return { served, failed }
  }
  return { end }
}

async function silentStream(t: Test, { edge, token, running }: Patient & { running: Controlled }) {
  const path = '/v1/chat/completions'
  const stream = await edge.guest.open(FIRST, { path, headers: bearer(token), body: ask(true) })
  await running.write('data: {"choices":[{"index":0,"delta":{"content":"before"}}]}\n\n')
  await sleep(SILENCE_MS)
  await running.write('data: {"choices":[{"index":0,"delta":{"content":"after"}}]}\n\ndata: [DONE]\n\n')
  await running.end()
  const { text, cut } = await stream.rest()
  t.notOk(cut)
  t.match(text, /before.*after.*DONE/s)
}

/** An upload through the edge, begun but not yet sent. */
function openUpload({ edge, token }: Patient, name: string, bytes: number) {
  const client = { root: edge.authority.root, localAddress: CLIENT_ADDRESSES[1] ?? '' }
  const headers = { ...bearer(token), ...formType(), 'content-length': bytes }
  const sending = beginRequest(client, name, { path: '/v1/audio/transcriptions', headers })
  const answered = once(sending, 'response').then(([incoming]) => readAll(incoming as IncomingMessage))
  const write = (piece: Buffer) => new Promise((done) => sending.write(piece, done))
  return { write, answered, end: () => sending.end() }
}

async function pausedUpload(t: Test, { edge, token }: Patient) {
  const body = formBody([
    ['model', 'whisper-1'],
    ['file', 'paused.mp3', randomBytes(2 * MIB)],
  ])
  const upload = openUpload({ edge, token }, SECOND, body.length)
  await upload.write(body.subarray(0, MIB))
  await sleep(SILENCE_MS)
  await upload.write(body.subarray(MIB))
  upload.end()
  const { status, text } = await upload.answered
  t.equal(status, 200, text)
  const seen = edge.provider.requests.find(({ body: bytes }) => bytes.includes('paused.mp3'))
  t.ok(seen?.body.equals(body), 'byte for byte')
}

async function largeUpload(t: Test, { edge, token }: Patient) {
  const head = `--${BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="large.wav"\r\n\r\n`
  const tail = `\r\n--${BOUNDARY}\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--${BOUNDARY}--\r\n`
  const piece = randomBytes(MIB)
  const pieces = [Buffer.from(head), ...Array.from({ length: FILE_MIB }, () => piece), Buffer.from(tail)]
  const hash = createHash('sha256')
  const length = pieces.reduce((sum, { length: bytes }) => sum + bytes, 0)
  const upload = openUpload({ edge, token }, THIRD, length)
  for (const bytes of pieces) {
    hash.update(bytes)
    await upload.write(bytes)
  }
  upload.end()
  const { status, text } = await upload.answered
  t.equal(status, 200, text)
  const seen = edge.provider.requests.find(({ bodyBytes }) => bodyBytes > 100 * MIB)
  t.equal(seen?.bodyBytes, length)
  t.equal(
    createHash('sha256')
      .update(seen?.body ?? '')
      .digest('hex'),
    hash.digest('hex'),
  )
}
