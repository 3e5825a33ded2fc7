import { LLMock } from '@copilotkit/aimock'
import { RealtimeAgent, RealtimeSession } from '@openai/agents-realtime'
import t from 'tap'
import { mintToken, startGateway } from '../support/gateway.ts'
import { readRows, waitUntil } from '../support/journey.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { answer, sendEvent, startRealtime, usageOf } from '../support/realtime.ts'
import { createWaiting, type Owner } from '../support/waiting.ts'

async function openSession(t: Owner, { url, token }: { url: string; token: string }) {
  const session = new RealtimeSession(new RealtimeAgent({ name: 'guide', instructions: 'Be brief.' }), {
    transport: 'websocket',
    model: 'gpt-realtime',
  })
  t.teardown(() => session.close())
  const waiting = createWaiting()
  const events: { type: string; [key: string]: unknown }[] = []
  session.on('transport_event', (event) => {
    events.push(event)
    waiting.check()
  })
  session.on('error', () => {})
  await session.connect({ apiKey: token, url: `${url.replace('http', 'ws')}/v1/realtime?model=gpt-realtime` })
  return { session, events, until: waiting.until }
}

const isDone = ({ type }: { type: string }): true | undefined => (type === 'response.done' ? true : undefined)

t.test("OpenAI's realtime client talks to a mock that no one here wrote", async (t) => {
  const mock = new LLMock({ port: 0, host: '127.0.0.1' })
  mock.onMessage('hello', { content: 'Hi thére 👋!' })
  await mock.start()
  t.teardown(() => mock.stop())
  const gateway = await startGateway(t, {
    modelsFile: modelsFile(t, { providers: { mock: `${mock.url}/v1` }, models: { 'gpt-realtime': 'mock' } }),
    env: providerKeys('mock'),
  })
  const token = await mintToken(t, gateway)
  const { session, events, until } = await openSession(t, { url: gateway.url, token })
  session.sendMessage('hello')
  await until('the answer', () => events.find(isDone), 20_000)
  const text = events.map(({ delta }) => (typeof delta === 'string' ? delta : '')).join('')
  t.match(text, 'Hi thére 👋!')
  session.close()
  t.match(await gateway.waitForLine(({ route }) => route === '/v1/realtime'), {
    status: 101,
    provider: 'mock',
  })
})

t.test('its turns are charged by what the provider reports', async (t) => {
  const provider = await startRealtime(t, {
    onMessage(socket, { type }) {
      if (type === 'session.update')
        sendEvent(socket, { type: 'session.updated', event_id: 's', session: {} })
      if (type === 'response.create') answer(socket, usageOf(1_200, 34))
    },
  })
  const gateway = await startGateway(t, {
    modelsFile: modelsFile(t, { providers: { main: provider.url }, models: { 'gpt-realtime': 'main' } }),
    env: providerKeys('main'),
  })
  const token = await mintToken(t, gateway)
  const { session, events, until } = await openSession(t, { url: gateway.url, token })
  session.sendMessage('hello')
  await until('the answer', () => events.find(isDone), 20_000)
  const rows = await waitUntil(
    () => readRows(gateway),
    (seen) => seen.some((row) => Number(row.charged_micros) === 1_234e6),
  )
  t.match(rows[0], { model: 'gpt-realtime', input_tokens: 1_200, output_tokens: 34, estimated: 0 })
  session.close()
})
