import type { Answer, AnswerContext, AnswerHead } from './answer.ts'
import { PlainAnswer } from './answer-plain.ts'
import { StreamAnswer } from './answer-stream.ts'

/** Whatever the client asked for, the provider's media type decides how its answer passes. */
export const isStream = ({ status, headers }: AnswerHead): boolean =>
  status < 300 && /^text\/event-stream/i.test(String(headers['content-type']))

/** The client's head leaves here, at the latest with the first byte. */
export const openAnswer = (context: AnswerContext, mustHideUsage: boolean): Answer =>
  isStream(context) ? new StreamAnswer(context, mustHideUsage) : new PlainAnswer(context)
