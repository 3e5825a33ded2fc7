import { isRecord, type JsonRecord, parseJson } from '../json.ts'
import type { UsageKind } from './usage-kinds.ts'

/** What a client could read in these events, thoughts and tool calls included; a cut event is passed over. */
export function textOfEvents(kind: UsageKind, events: string): string {
  let text = ''
  for (const line of events.split(/[\r\n]+/)) {
    if (!line.startsWith('data:')) continue
    const event = parseJson(line.slice(5))
    if (isRecord(event)) text += textOfEvent(kind, event)
  }
  return text
}

function textOfEvent(kind: UsageKind, event: JsonRecord): string {
  if (kind === 'chat') return textOfChoices(event.choices)
  if (kind === 'messages') return event.type === 'content_block_delta' ? textOfBlock(event.delta) : ''
  // Later events of a Responses stream repeat what the deltas said; audio deltas are base64.
  const type = typeof event.type === 'string' ? event.type : ''
  const isText = type.endsWith('.delta') && !type.endsWith('audio.delta')
  return isText && typeof event.delta === 'string' ? event.delta : ''
}

/** The same of a whole answer that is no stream; what is no JSON is text itself (subtitles). */
export function textOfAnswer(kind: UsageKind, body: string): string {
  const answer = parseJson(body)
  if (!isRecord(answer)) return answer === undefined ? body : ''
  if (kind === 'chat') return textOfChoices(answer.choices)
  if (kind === 'messages') return textOfBlocks(answer.content)
  if (kind === 'responses') return textOfBlocks(answer.output)
  return kind === 'transcription' ? asText(answer.text) : ''
}

const asText = (value: unknown): string => (typeof value === 'string' ? value : '')
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])

function textOfChoices(choices: unknown): string {
  let text = ''
  for (const choice of list(choices)) {
    if (!isRecord(choice)) continue
    text += asText(choice.text)
    for (const message of [choice.delta, choice.message])
      if (isRecord(message)) text += textOfMessage(message)
  }
  return text
}

function textOfMessage(message: JsonRecord): string {
  const reasoning = asText(message.reasoning_content) || asText(message.reasoning)
  let text = asText(message.content) + textOfBlocks(message.content) + reasoning + asText(message.refusal)
  for (const call of list(message.tool_calls)) if (isRecord(call)) text += textOfCall(call.function)
  return text + textOfCall(message.function_call)
}

const textOfCall = (call: unknown) => (isRecord(call) ? asText(call.name) + asText(call.arguments) : '')

const textOfBlocks = (blocks: unknown): string => list(blocks).map(textOfBlock).join('')

/** A part of a message: OpenAI's and Anthropic's have the same shape, and Responses nests them in items. */
function textOfBlock(block: unknown): string {
  if (!isRecord(block)) return ''
  const input = isRecord(block.input) ? JSON.stringify(block.input) : ''
  const own = [block.text, block.thinking, block.partial_json, block.refusal, block.arguments]
    .map(asText)
    .join('')
  return (
    own + input + list(block.content).map(textOfPart).join('') + list(block.summary).map(textOfPart).join('')
  )
}

const textOfPart = (part: unknown) => (isRecord(part) ? asText(part.text) + asText(part.refusal) : '')
