import type { Answer, Behaviour } from './behaviour.ts'
import { json, status } from './behaviour.ts'

/** OpenRouter's word for a prompt that its moderation flagged: the next prompt is welcome. */
export function flaggedPrompt(): Behaviour {
  const metadata = { reasons: ['violence'], flagged_input: 'how do I ...', provider_name: 'OpenAI' }
  const error = {
    code: 403,
    message: 'Your chosen model requires moderation and your input was flagged',
    metadata,
  }
  return json({ error }, { status: 403 })
}

/** OpenRouter's word for a `max_tokens` that our wallet does not cover: fewer would be. */
export function unaffordable(): Behaviour {
  const message =
    'This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 4820'
  return json({ error: { code: 402, message } }, { status: 402 })
}

/** An input that the provider trips over, each time. */
export function choking(): Behaviour {
  const error = { message: 'The server had an error while processing your request. Sorry about that!' }
  return json({ error: { ...error, type: 'server_error', param: null, code: null } }, { status: 500 })
}

/** Too many requests, and when to come again. */
export function comeAgainIn(seconds: number): Behaviour {
  return status(429, { 'retry-after': String(seconds) })
}

/** Our own key is not known any more. */
export function wrongKey(): Behaviour {
  const error = { message: 'Incorrect API key provided: sk-proj-****abcd.', type: 'invalid_request_error' }
  return json({ error: { ...error, param: null, code: 'invalid_api_key' } }, { status: 401 })
}

/** These behaviours, one request after the other, round and round. */
export function turnAbout(...behaviours: readonly Behaviour[]): Answer {
  let turn = 0
  return () => {
    const behaviour = behaviours[turn % behaviours.length]
    turn += 1
    return behaviour ?? status(500)
  }
}

/** Waits until so many requests are there, and then does the same to all at once. */
export function together(count: number, behaviour: Behaviour): Behaviour {
  const { promise, resolve } = Promise.withResolvers<void>()
  let here = 0
  return {
    async act(call) {
      here += 1
      if (here === count) resolve()
      await promise
      await behaviour.act(call)
    },
  }
}
