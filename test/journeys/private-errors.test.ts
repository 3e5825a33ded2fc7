import t from 'tap'
import { json } from '../support/behaviour.ts'
import { bearer, get, post } from '../support/client.ts'
import { startJourney } from '../support/journey.ts'

const { gateway, providers, token } = await startJourney(t, {
  providers: ['one'],
  models: { m: { plan: [{ provider: 'one' }] } },
  env: { PASSTHROUGH_PATHS: '/v1/files=one' },
})
const auth = bearer(token)

t.test(
  "a refusal of a client's own fault passes, without keys, accounts or hosts of the operator",
  async (t) => {
    const { one } = providers
    const secrets = [
      'sk-ab***wxyz',
      'org-AbCd1234EfGh',
      'owner@example.com',
      '10.1.2.3:8000',
      `127.0.0.1:${one.port}`,
    ]
    const message = (names: readonly string[]) => `Odd "temperature" at ${names.join(', ')}`
    const error = { type: 'invalid_request_error', param: 'temperature', code: null }
    one.queue(json({ error: { ...error, message: message(secrets) } }, { status: 400 }))
    const body = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }
    const reply = await post(gateway, '/v1/chat/completions', body, auth)
    t.equal(reply.status, 400)
    t.same(reply.json(), {
      error: { ...error, message: message(secrets.map((secret) => '*'.repeat(secret.length))) },
    })
    one.queue(json({ error: { ...error, message: message(secrets) } }, { status: 404 }))
    const handedOn = await get(gateway, '/v1/files/file-1', auth)
    t.match([handedOn.status, handedOn.json()], [404, reply.json()], 'also where it is handed on unpaid')
  },
)
