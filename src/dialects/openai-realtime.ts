import { isRecord, type JsonRecord, lastObject, parseJson } from '../json.ts'
import { openai } from './openai.ts'
import type { Usage } from './usage.ts'

/** The paid socket. */
export const openaiRealtime = openai('openai-realtime')

/** A realtime event as far as it was kept: its first bytes, its last ones beyond those, and its length. */
export interface RealtimeEvent {
  head: Buffer
  tail: Buffer
  bytes: number
}

/** What an event means for the bill. */
export type EventKind = 'begun' | 'done' | 'transcribed' | 'ask' | 'other'

const KINDS: Readonly<Record<string, EventKind>> = {
  'response.create': 'ask',
  'response.created': 'begun',
  'response.done': 'done',
  'conversation.item.input_audio_transcription.completed': 'transcribed',
}

/** `type` before any nested value: so every provider and client writes it. */
const LEADING_TYPE =
  /^\s*\{(?:\s*"[^"\\]*"\s*:\s*(?:"[^"\\]*"|-?\d+|true|false|null)\s*,)*?\s*"type"\s*:\s*"([^"\\]{1,128})"/
const LEADING_BYTES = 512

/** The event's `type`; undefined when its kept bytes do not say it. */
export function readType(head: Buffer): string | undefined {
  const leading = LEADING_TYPE.exec(head.toString('latin1', 0, LEADING_BYTES))?.[1]
  if (leading !== undefined) return leading
  const event = parseJson(head.toString())
  return isRecord(event) && typeof event.type === 'string' ? event.type : undefined
}

export function kindOf(type: string | undefined): EventKind {
  return KINDS[type ?? ''] ?? 'other'
}

/** What a `response.done` or a transcription says was used; undefined when it says nothing credible. */
export function readEventUsage(kind: EventKind, { head, tail, bytes }: RealtimeEvent): Usage | undefined {
  const report = head.length + tail.length === bytes ? wholeReport(head, tail) : cutReport(kind, tail)
  return report && openaiRealtime.readReport(report)
}

function wholeReport(head: Buffer, tail: Buffer): JsonRecord | undefined {
  const event = parseJson(Buffer.concat([head, tail]).toString())
  if (!isRecord(event)) return undefined
  const holder = isRecord(event.response) ? event.response : event
  return isRecord(holder.usage) ? holder.usage : undefined
}

function cutReport(kind: EventKind, tail: Buffer): JsonRecord | undefined {
  return lastObject(tail.toString('latin1'), 'usage', kind === 'done' ? 2 : 1)
}
