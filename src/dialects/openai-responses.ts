import { isRecord, type JsonRecord } from '../json.ts'
import { textOfParts } from './message-parts.ts'
import { openai } from './openai.ts'
import { type EventVerdict, NO_OUTPUT, readToldError, type ToldFailure } from './verdict.ts'

/** The Responses API: its events are typed, and the last one repeats the whole answer. */
export const openaiResponses = openai('openai-responses', {
  errorEvent({ code, message, param }) {
    const event = { type: 'error', code, message, param, sequence_number: 0 }
    return `event: error\ndata: ${JSON.stringify(event)}\n\n`
  },
  hasBackground: true,
  reportDepth: 2,
  endTypes: ['response.completed', 'response.incomplete', 'response.failed'],
  textOfEvent: textOfTypedEvent,
  textOfAnswer: ({ output }) => textOfParts(output),
  outputField: 'output',
  failureOf,
  judgeEvent,
})

/** What an event of a socket that carries responses means for the bill. */
export function meaningOf(type = ''): 'begun' | 'going' | 'over' | 'refused' | 'other' {
  if (type === 'response.created') return 'begun'
  // A request that came to nothing, or a response that went wrong.
  if (type === 'error') return 'refused'
  if (openaiResponses.endTypes.includes(type)) return 'over'
  return OUTPUT.test(type) ? 'going' : 'other'
}

const OUTPUT = /^response\..+\.(?:added|delta|done|partial_image)$/

/** How long the input of a response would be: nobody pays for that. */
export const openaiInputTokens = openai('openai-input-tokens', { isFree: true, hasBackground: true })

/** Later events of a typed stream repeat what its deltas said; audio deltas are base64. */
export function textOfTypedEvent({ type, delta }: JsonRecord): string {
  const isText = typeof type === 'string' && type.endsWith('.delta') && !type.endsWith('audio.delta')
  return isText && typeof delta === 'string' ? delta : ''
}

/** One that was cut short by a limit, or still runs, may have nothing to show. */
function failureOf(answer: JsonRecord): ToldFailure | undefined {
  const told = readToldError(answer)
  if (told || answer.status === 'failed') return told ?? { ...NO_OUTPUT, reason: 'TOLD_ERROR' }
  if (!Array.isArray(answer.output)) return NO_OUTPUT
  return answer.status === 'completed' && answer.output.length === 0 ? NO_OUTPUT : undefined
}

function judgeEvent(event: JsonRecord): EventVerdict {
  const { type, response } = event
  const told = readToldError(event)
  if (told) return told
  if (type === 'response.failed' || type === 'response.completed')
    return (isRecord(response) ? failureOf(response) : NO_OUTPUT) ?? 'output'
  return typeof type === 'string' && BEGINNINGS.test(type) ? 'begun' : 'output'
}

/** An item or a part that is only opened says nothing yet. */
const BEGINNINGS = /^response\.(?:created|queued|in_progress|output_item\.added|content_part\.added)$/
