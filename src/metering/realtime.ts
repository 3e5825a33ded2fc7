import { kindOf } from '../dialects/openai-realtime.ts'
import { NO_USAGE, type Usage } from '../dialects/usage.ts'

/** What a next response will read. */
export interface NextInput {
  mostTokens: number
  leastTokens: number
}

const TEXT_BYTES_PER_TOKEN = 4
/** Base64 of 24 kHz PCM: 64 kB a second, which a user's 10 and a model's 20 LLM tokens a second stand for. */
const AUDIO_IN_BYTES_PER_TOKEN = 6_400
const AUDIO_OUT_BYTES_PER_TOKEN = 3_200
/** What a model makes of one image at most. */
const IMAGE_TOKENS = 2_048
/** Keys and ids around a delta. */
const ENVELOPE_BYTES = 160

/** A client's event may be LLM tokens (`most`), or audio or an image in base64, which are fewer. */
function weighSent(type: string | undefined, head: Buffer, bytes: number): { most: number; least: number } {
  if (type === 'input_audio_buffer.append') {
    const tokens = bytes / AUDIO_IN_BYTES_PER_TOKEN
    return { most: tokens, least: tokens }
  }
  const most = bytes / TEXT_BYTES_PER_TOKEN
  if (head.includes('"input_audio"')) return { most, least: bytes / AUDIO_IN_BYTES_PER_TOKEN }
  return { most, least: head.includes('"input_image"') ? Math.min(most, IMAGE_TOKENS) : most }
}

/** Only the provider's deltas are LLM tokens that nothing else reports. */
function weighReceived(type: string | undefined, bytes: number): number {
  if (!type?.endsWith('.delta')) return 0
  const isAudio = type.endsWith('audio.delta')
  const perToken = isAudio ? AUDIO_OUT_BYTES_PER_TOKEN : TEXT_BYTES_PER_TOKEN
  return Math.max(1, bytes - ENVELOPE_BYTES) / perToken
}

/** An escape may hide a name: it counts as one. */
const ASIDE = /"(?:conversation|input)"|\\u/

/** Whether it may ask for a response that reads less than the conversation: also a message that shows too little of itself. */
function mayAskAside(type: string | undefined, head: Buffer, bytes: number): boolean {
  return (
    type === undefined ||
    (kindOf(type) === 'ask' && (head.length < bytes || ASIDE.test(head.toString('latin1'))))
  )
}

const NOTHING = { most: 0, least: 0 }
/** Asks that are remembered until their responses begin: some never do. */
const MOST_ASKED = 16

/**
 * What a next response will read. Reports correct what was guessed; but no later and smaller one takes back what one has
 * counted, for what was deleted meanwhile cannot be known.
 */
function createContext() {
  let next = { ...NOTHING }
  /** What was said since each running response began, or was asked for: its report does not count that. */
  const running: { most: number; least: number }[] = []
  const asked: { most: number; least: number }[] = []
  let mostCounted = 0
  return {
    next: () => next,
    say(most: number, least: number) {
      for (const each of [next, ...asked, ...running]) {
        each.most += most
        each.least += least
      }
    },
    asked() {
      if (asked.length < MOST_ASKED) asked.push({ ...NOTHING })
    },
    begun: () => void running.push(asked.shift() ?? { ...NOTHING }),
    /** What the response said that ends now, and nobody counted. */
    guessed(output: number) {
      running.shift()
      this.say(output, output)
    },
    /** A report of all that is read, or (`isAside`) perhaps of less. */
    counted(tokens: number, isAside: boolean) {
      const since = running.shift() ?? NOTHING
      mostCounted = Math.max(mostCounted, tokens)
      const before = isAside ? next : NOTHING
      next = {
        most: Math.max(mostCounted + since.most, before.most),
        least: Math.max(mostCounted + since.least, before.least),
      }
    },
  }
}

/** Our own count of what passed, for the next response and for one that nobody reports on. */
export function createTally() {
  const context = createContext()
  let output = 0
  /** A report may be one of a response beside the conversation from then on. */
  let isAside = false
  return {
    sent(type: string | undefined, head: Buffer, bytes: number) {
      const { most, least } = weighSent(type, head, bytes)
      context.say(most, least)
      isAside ||= mayAskAside(type, head, bytes)
      if (kindOf(type) === 'ask') context.asked()
    },
    received(type: string | undefined, bytes: number) {
      output += weighReceived(type, bytes)
    },
    begun: context.begun,
    /** A response is over. */
    reported({ inputTokens, outputTokens, estimated }: Usage) {
      if (estimated) context.guessed(output)
      else context.counted(inputTokens + outputTokens, isAside)
      output = 0
    },
    /** The input of a response that begins now: everything said so far. */
    nextInput(): NextInput {
      const { most, least } = context.next()
      return { mostTokens: Math.ceil(most), leastTokens: Math.ceil(least) }
    },
    estimate: (): Usage => ({
      ...NO_USAGE,
      inputTokens: Math.ceil(context.next().most),
      outputTokens: Math.ceil(output),
      estimated: true,
    }),
  }
}
