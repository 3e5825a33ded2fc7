import { isRecord, type JsonRecord } from '../json.ts'
import { listIn, textIn, textOfParts } from './message-parts.ts'
import { openai } from './openai.ts'

/** Chat Completions, and the legacy completions that share its reports and its stream. */
export const openaiChat = openai('openai-chat', {
  asksForUsage: true,
  repeatsAnswer: false,
  textOfEvent: ({ choices }) => textOfChoices(choices),
  textOfAnswer: ({ choices }) => textOfChoices(choices),
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
  const reasoning = textIn(message.reasoning_content) || textIn(message.reasoning)
  let text = textIn(message.content) + textOfParts(message.content) + reasoning + textIn(message.refusal)
  for (const call of listIn(message.tool_calls)) if (isRecord(call)) text += textOfCall(call.function)
  return text + textOfCall(message.function_call)
}

function textOfCall(call: unknown): string {
  return isRecord(call) ? textIn(call.name) + textIn(call.arguments) : ''
}
