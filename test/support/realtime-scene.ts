import { startGateway } from './gateway.ts'
import { modelsFile, providerKeys } from './models.ts'
import { answer, type RealtimeBehaviour, startRealtime, usageOf } from './realtime.ts'
import type { Owner } from './waiting.ts'

/** A gateway before one provider `main` (and `spare`), with the model `m`: 1 credit for input, 0.5 cached, 4 for output. */
export async function realtimeScene(
  t: Owner,
  behaviour: RealtimeBehaviour,
  { env = {}, maxOutput = 100, perSecond = 0 } = {},
) {
  const provider = await startRealtime(t, behaviour)
  const spare = await startRealtime(t, behaviour.refuse ? {} : behaviour)
  const price = { input: 1, cachedInput: 0.5, output: 4, perSecond }
  const path = modelsFile(t, {
    providers: { main: provider.url, spare: spare.url },
    models: {
      m: { plan: [{ provider: 'main', model: 'm-upstream' }, { provider: 'spare' }], price, maxOutput },
      other: { plan: [{ provider: 'main' }], price, maxOutput },
    },
  })
  const gateway = await startGateway(t, {
    modelsFile: path,
    env: {
      ...providerKeys('main', 'spare'),
      RATE_LIMIT_PER_MINUTE: '100000',
      WS_SOCKETS_PER_TOKEN: '1000',
      ...env,
    },
  })
  const url = `${gateway.url}/v1/realtime?model=m`
  const credits = async (token: string) => {
    const answered = await fetch(`${gateway.url}/v1/token`, { headers: { authorization: `Bearer ${token}` } })
    const { credits: seen } = (await answered.json()) as { credits: Record<string, number> }
    return seen
  }
  return { provider, spare, gateway, url, credits }
}

/** Answers every `response.create`, and reports this. */
export function echoUsage(input: number, output: number, cached = 0): RealtimeBehaviour {
  return {
    onMessage(socket, message) {
      if (message.type === 'response.create') answer(socket, usageOf(input, output, cached))
    },
  }
}
export function done(events: { type: string }[]) {
  return events.filter(({ type }) => type === 'response.done').length
}
