import type { Behaviour, Head, SeenRequest } from './behaviour.ts'
import { json } from './behaviour.ts'
import type { Counts } from './openai-wire.ts'
import {
  chatBody,
  chatEvents,
  messageBody,
  messageEvents,
  responseBody,
  responseEvents,
  SOME_COUNTS,
} from './openai-wire.ts'
import type { StreamOptions } from './stream-behaviours.ts'
import { sse } from './stream-behaviours.ts'

interface Whole extends Head {
  content?: string
  model?: string
  /** `false`: no usage report. */
  usage?: Counts | false
}

interface Streamed extends StreamOptions {
  words?: readonly string[]
  model?: string
  counts?: Counts
}

export interface ChatStreamed extends Streamed {
  /**
   * `true` (as OpenAI): an extra chunk only when `stream_options.include_usage` asks for it. `always`: asked or
   * not; `in-finish`: beside the finish reason; `false`: never.
   */
  usage?: boolean | 'always' | 'in-finish'
  /** Whether other chunks carry `"usage":null`; unset: as OpenAI, when usage was asked for. */
  includeUsageNull?: boolean
  /** Whether `[DONE]` ends the stream. */
  done?: boolean
}

const WORDS = ['Hello', ', ', 'wörld', ' 👋', '!']

/** A behaviour made anew for each request, from what it asks. */
function perRequest(choose: (seen: SeenRequest) => Behaviour): Behaviour {
  return {
    act: (call) => choose(call.seen).act(call),
  }
}

function modelOf(seen: SeenRequest): string {
  return readBody(seen).model ?? 'gpt-4o'
}

interface AskedBody {
  model?: string
  stream?: boolean
  stream_options?: { include_usage?: boolean } | null
}

function readBody(seen: SeenRequest): AskedBody {
  try {
    return seen.json() ?? {}
  } catch {
    return {}
  }
}

/** A whole chat answer; the model is the one asked for unless given. */
export function chat({ content = 'Hello!', model, usage = SOME_COUNTS, ...head }: Whole = {}): Behaviour {
  return perRequest((seen) => json(chatBody(model ?? modelOf(seen), content, usage || undefined), head))
}

/** A streamed chat answer that reports usage as a provider of the given kind does. */
export function chatStream(options: ChatStreamed = {}): Behaviour {
  return perRequest((seen) => {
    const asked = readBody(seen).stream_options?.include_usage === true
    const events = chatEvents({
      model: options.model ?? modelOf(seen),
      words: options.words ?? WORDS,
      usageAt: usageAt(options.usage ?? true, asked),
      usage: options.counts ?? SOME_COUNTS,
      usageNull: options.includeUsageNull ?? (asked && (options.usage ?? true) === true),
      done: options.done ?? true,
    })
    return sse(events, options)
  })
}

function usageAt(usage: boolean | 'always' | 'in-finish', asked: boolean) {
  if (usage === 'in-finish') return 'in-finish'
  return usage === 'always' || (usage && asked) ? 'separate' : 'nowhere'
}

/** A whole answer of the Responses API. */
export function response({ content = 'Hello!', model, usage, ...head }: Whole = {}): Behaviour {
  return perRequest((seen) => json(responseBody(model ?? modelOf(seen), content, usage || SOME_COUNTS), head))
}

/** A streamed answer of the Responses API. */
export function responseStream({ words = WORDS, model, counts, ...options }: Streamed = {}): Behaviour {
  return perRequest((seen) =>
    sse(responseEvents(model ?? modelOf(seen), words, counts ?? SOME_COUNTS), options),
  )
}

/** A whole answer of Anthropic's Messages API. */
export function message({ content = 'Hello!', model, usage, ...head }: Whole = {}): Behaviour {
  return perRequest((seen) => json(messageBody(model ?? modelOf(seen), content, usage || SOME_COUNTS), head))
}

/** A streamed answer of Anthropic's Messages API. */
export function messageStream({ words = WORDS, model, counts, ...options }: Streamed = {}): Behaviour {
  return perRequest((seen) =>
    sse(messageEvents(model ?? modelOf(seen), words, counts ?? SOME_COUNTS), options),
  )
}

/** What a healthy provider does: the answer's kind by path, streamed when the request says so. */
export function healthy(): Behaviour {
  return perRequest((seen) => {
    const { stream } = readBody(seen)
    if (seen.url.includes('/messages')) return stream ? messageStream() : message()
    if (seen.url.includes('/responses')) return stream ? responseStream() : response()
    return stream ? chatStream() : chat()
  })
}
