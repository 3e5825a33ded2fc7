import t from 'tap'
import { openBody } from '../support/body-client.ts'
import { bearer, post } from '../support/client.ts'
import { formBody, formType } from '../support/form.ts'
import { mintToken } from '../support/gateway.ts'
import { codeOf, statusOf } from '../support/hostile.ts'
import { startJourney, waitUntil } from '../support/journey.ts'
import { gaugeOf } from '../support/memory.ts'

const MIB = 1024 * 1024
const CHAT = '/v1/chat/completions'

const { gateway, providers } = await startJourney(t, {
  providers: ['main'],
  models: { m: { plan: [{ provider: 'main' }] } },
})
const admin = await mintToken(t, gateway, { type: 'admin', user: 'metrics' })
providers.main.answer({
  act: ({ res }) =>
    void res
      .writeHead(200, { 'content-type': 'application/json' })
      .end('{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'),
})
const jsonOf = (answer: string): string =>
  /\{.*\}/s.exec(answer.slice(answer.indexOf('\r\n\r\n')))?.[0] ?? '{}'
const large = (mib: number) => Buffer.from(`{"model":"m","messages":[],"a":"${'x'.repeat(mib * MIB)}"}`)

t.test(
  'a key makes no unpaid body welcome, but an answer of before is given to an empty purse',
  async (t) => {
    const credits = 2_000_000
    const buyer = await mintToken(t, gateway, { user: 'buyer', credits })
    const headers = { ...bearer(buyer), 'idempotency-key': 'bought' }
    const upload = (boundary: string, more = 0) => {
      const file = Buffer.alloc(2 * MIB + more, 'x')
      const form = formBody(
        [
          ['model', 'm'],
          ['file', 'a.mp3', file],
        ],
        boundary,
      )
      const own = { ...bearer(buyer), 'idempotency-key': 'form', ...formType(boundary) }
      return post(gateway, '/v1/audio/transcriptions', form, own)
    }
    const heard = await upload('first')
    t.equal(heard.status, 200, heard.text)
    const usage = { prompt_tokens: credits, completion_tokens: 0, total_tokens: credits }
    providers.main.queue({
      act: ({ res }) =>
        void res
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ choices: [], usage })),
    })
    const bought = await post(gateway, CHAT, large(1), headers)
    t.equal(bought.status, 200, bought.text)
    const seen = providers.main.requests.length
    const longer = large(1).length + 1
    for (const [key, length] of [
      ['new', 10 * MIB],
      ['bought', 10 * MIB],
      ['bought', longer],
    ] as const) {
      const client = openBody(t, { port: gateway.port, token: buyer, length, key })
      const answer = await client.answer()
      t.equal(statusOf(answer), 429, `${key}, ${length}: with nothing of its body sent`)
      t.equal(codeOf(jsonOf(answer)), 'insufficient_quota')
    }
    const other = Buffer.from(large(1).toString().replace('xx', 'xy'))
    const mismatch = await post(gateway, CHAT, other, headers)
    t.match(mismatch, { status: 422 }, 'as long, and another: only its content tells')
    const refused = await upload('another', 64 * 1024)
    t.equal(refused.status, 429, refused.text)
    const asLong = await upload('of-some-other-length')
    t.match(asLong, { text: heard.text, headers: { 'idempotent-replayed': 'true' } })
    const again = await post(gateway, CHAT, large(1), headers)
    t.equal(again.text, bought.text)
    t.equal(again.headers['idempotent-replayed'], 'true')
    t.equal(providers.main.requests.length, seen)
    await waitUntil(
      () => gaugeOf(gateway, admin, 'gateway_body_bytes'),
      (bytes) => bytes === 0,
    )
  },
)
