import { isRecord, type JsonRecord } from '../json.ts'
import { listIn, textIn, textOfParts } from './message-parts.ts'
import { openai } from './openai.ts'
import { type EventVerdict, holdsSomething, NO_OUTPUT, readToldError, type ToldFailure } from './verdict.ts'

/** Chat Completions, and the legacy completions that share its reports and its stream. */
export const openaiChat = openai('openai-chat', {
  asksForUsage: true,
  repeatsAnswer: false,
  textOfEvent: ({ choices }) => textOfChoices(choices),
  textOfAnswer: ({ choices }) => textOfChoices(choices),
  outputField: 'choices',
  failureOf,
  judgeEvent,
})

function textOfChoices(choices: unknown): string {
  let text = ''
  for (const choice of listIn(choices)) {
    if (!isRecord(choice)) continue
    text += textIn(choice.text)
    for (const message of [choice.delta, choice.message])
      if (isRecord(message)) text += textOfMessage(message)
  }
  return text
}

function textOfMessage(message: JsonRecord): string {
  const reasoning =
    textIn(message.reasoning_content) || textIn(message.reasoning) || textOfParts(message.reasoning_details)
  let text = textIn(message.content) + textOfParts(message.content) + reasoning + textIn(message.refusal)
  for (const call of listIn(message.tool_calls))
    if (isRecord(call)) text += textOfCall(call.function) + textOfCall(call.custom)
  return text + textOfCall(message.function_call) + textOfSound(message.audio)
}

function textOfCall(call: unknown): string {
  return isRecord(call) ? textIn(call.name) + textIn(call.arguments) + textIn(call.input) : ''
}

/** Base64 of 24 kHz PCM: 64 kB a second, which are 20 LLM tokens. */
const SOUND_BYTES_PER_TOKEN = 3_200
const ONE_TOKEN = ' a'

/** What is said, and in place of its sound as many LLM tokens of text. */
function textOfSound(sound: unknown): string {
  if (!isRecord(sound)) return ''
  return (
    textIn(sound.transcript) + ONE_TOKEN.repeat(Math.ceil(textIn(sound.data).length / SOUND_BYTES_PER_TOKEN))
  )
}

function failureOf(answer: JsonRecord): ToldFailure | undefined {
  const told = readToldError(answer)
  const choices = listIn(answer.choices)
  if (told || choices.length > 0) return told ?? failedChoice(choices)
  return answer.choices !== null && isCounted(answer.usage) ? undefined : NO_OUTPUT
}

/** What was counted was made, in whatever shape. */
function isCounted(usage: unknown): boolean {
  return isRecord(usage) && (Number(usage.completion_tokens) > 0 || Number(usage.prompt_tokens) > 0)
}

/** Some end a choice with an error, beside which nothing was said. */
function failedChoice(choices: readonly unknown[]): ToldFailure | undefined {
  for (const choice of choices)
    if (!isRecord(choice) || choice.finish_reason !== 'error' || textOfChoices([choice]) !== '')
      return undefined
  const [first] = choices
  return { ...NO_OUTPUT, ...(isRecord(first) ? readToldError(first) : undefined), reason: 'TOLD_ERROR' }
}

function judgeEvent(event: JsonRecord): EventVerdict {
  const told = readToldError(event)
  if (told) return told
  const choices = listIn(event.choices)
  const failed = choices.length > 0 ? failedChoice(choices) : undefined
  if (failed) return failed
  const isMade = isRecord(event.usage) && Number(event.usage.completion_tokens) > 0
  return isMade || choices.some(isOutput) ? 'output' : 'begun'
}

/** A role alone is none; an end is, even of an answer without a word. */
function isOutput(choice: unknown): boolean {
  if (!isRecord(choice)) return false
  if (holdsSomething(choice.finish_reason) || holdsSomething(choice.text)) return true
  const said = isRecord(choice.delta) ? choice.delta : choice.message
  return (
    isRecord(said) && Object.entries(said).some(([name, value]) => name !== 'role' && holdsSomething(value))
  )
}
