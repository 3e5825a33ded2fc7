import type { WebSocket } from 'ws'
import { startGateway } from './gateway.ts'
import { modelsFile, providerKeys } from './models.ts'
import { type RealtimeBehaviour, sendEvent, startRealtime } from './realtime.ts'
import type { Owner } from './waiting.ts'

export interface Answered {
  words?: readonly string[]
  usage?: { input: number; output: number; cached?: number } | undefined
  /** The event that ends it; null: nothing does. */
  end?: string | null
  id?: string
  /** What stands beside the usage in the last event. */
  padding?: string
}

/** One response, as OpenAI's sockets answer a `response.create`. */
export function respond(socket: WebSocket, answered: Answered = {}): void {
  const { words = ['hello'], end = 'response.completed', id = 'resp_1', padding = '' } = answered
  const usage = 'usage' in answered ? answered.usage : { input: 100, output: 20, cached: 40 }
  sendEvent(socket, { type: 'response.created', sequence_number: 0, response: { id, status: 'in_progress' } })
  for (const delta of words)
    sendEvent(socket, { type: 'response.output_text.delta', sequence_number: 1, item_id: 'msg_1', delta })
  if (end === null) return
  const report = usage && {
    input_tokens: usage.input,
    input_tokens_details: { cached_tokens: usage.cached ?? 0 },
    output_tokens: usage.output,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: usage.input + usage.output,
  }
  const output = [{ type: 'message', content: [{ type: 'output_text', text: words.join('') + padding }] }]
  sendEvent(socket, {
    type: end,
    sequence_number: 9,
    response: { id, status: 'completed', output, usage: report },
  })
}

/** A gateway before the providers `main` and `spare`, with the model `m`: 1 credit for input, 0.5 cached, 4 for output. */
export async function responsesScene(
  t: Owner,
  behaviour: RealtimeBehaviour,
  {
    env = {},
    spare: spareBehaviour = behaviour,
  }: { env?: Record<string, string>; spare?: RealtimeBehaviour } = {},
) {
  const provider = await startRealtime(t, behaviour)
  const spare = await startRealtime(t, spareBehaviour)
  const price = { input: 1, cachedInput: 0.5, output: 4 }
  const path = modelsFile(t, {
    providers: { main: provider.url, spare: spare.url },
    models: {
      m: {
        plan: [{ provider: 'main', model: 'm-upstream' }, { provider: 'spare' }],
        price,
        maxOutput: 100_000,
      },
      other: { plan: [{ provider: 'main' }], price: { input: 2, output: 2 } },
      elsewhere: { plan: [{ provider: 'spare' }], price },
    },
  })
  const gateway = await startGateway(t, {
    modelsFile: path,
    env: { ...providerKeys('main', 'spare'), RATE_LIMIT_PER_MINUTE: '100000', ...env },
  })
  const credits = async (token: string) => {
    const answered = await fetch(`${gateway.url}/v1/token`, { headers: { authorization: `Bearer ${token}` } })
    const { credits: seen } = (await answered.json()) as { credits: Record<string, number> }
    return seen
  }
  return { provider, spare, gateway, url: `${gateway.url}/v1/responses`, credits }
}
