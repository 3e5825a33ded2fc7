import type { Answer, AnswerContext } from './answer.ts'
import { PlainAnswer } from './answer-plain.ts'
import { StreamAnswer } from './answer-stream.ts'

/** Whatever the client asked for, the provider's media type decides how its answer passes. */
export const openAnswer = (context: AnswerContext, mustHideUsage: boolean): Answer => {
  const isStream = /^text\/event-stream/i.test(String(context.headers['content-type']))
  if (context.status >= 300 || !isStream) return new PlainAnswer(context)
  return new StreamAnswer(context, mustHideUsage)
}
