import { setTimeout } from 'node:timers/promises'
import { type Behaviour, json, OPENAI_HEADERS, raw } from './behaviour.ts'
import { chatBody, chatEvents, messageEvents, responseEvents, SOME_COUNTS } from './openai-wire.ts'
import { sse } from './stream-behaviours.ts'

/** What is sold as success by the status line alone: a 200 that tells of its own failure, or holds nothing. */
export const TOLD_WHOLE: Readonly<Record<string, Behaviour>> = {
  'an error with a code': json({ error: { message: 'Rate limit exceeded', code: 429 } }),
  'an error in a text': json({ error: 'upstream connect error' }),
  'an error beside usage': json({
    error: { message: 'no' },
    usage: { prompt_tokens: 3, completion_tokens: 0 },
  }),
  'an error as text/plain': json({ error: { message: 'no' } }, { headers: { 'content-type': 'text/plain' } }),
  'nothing but nulls': json({ id: null, choices: null, usage: null }),
  'a base response': json({
    choices: null,
    base_resp: { status_code: 1008, status_msg: 'insufficient balance' },
  }),
  'a choice that failed': json({
    ...chatBody('m', '', SOME_COUNTS),
    choices: [{ index: 0, message: { role: 'assistant', content: '' }, finish_reason: 'error' }],
  }),
  'no choices': json({ id: 'x', choices: [] }),
  'an empty object': json({}),
  'an empty body': json(''),
  'no content': raw(204, {}),
  'half a document': json(JSON.stringify(chatBody('m', 'Hello!', SOME_COUNTS)).slice(0, 150)),
  'a page of text': raw(200, { 'content-type': 'text/plain' }, 'no healthy upstream'),
}

const data = (body: object | string) => `data: ${typeof body === 'string' ? body : JSON.stringify(body)}\n\n`
const named = (body: { type: string; [field: string]: unknown }) => `event: ${body.type}\n${data(body)}`
const error = { error: { message: 'The server had an error', type: 'server_error', code: 500 } }
const [role = ''] = chatEvents({
  model: 'm',
  words: [],
  usageAt: 'nowhere',
  usage: SOME_COUNTS,
  usageNull: false,
  done: false,
})

/** Streams of Chat Completions that fail before they said anything. */
export const TOLD_CHAT: Readonly<Record<string, Behaviour>> = {
  'an error first': sse([data(error)]),
  'an error behind comments': sse([': PROCESSING\n\n', ': PROCESSING\n\n', data(error), data('[DONE]')]),
  'an error behind the role': sse([role, data(error)]),
  'an error event': sse(['event: error\ndata: {"message":"overloaded"}\n\n']),
  'a choice that failed': sse([
    role,
    data({ choices: [{ index: 0, delta: { content: '' }, finish_reason: 'error' }] }),
  ]),
  'nothing but its end': sse([data('[DONE]')]),
  'nothing but a role': sse([role, data('[DONE]')]),
  'no event': sse([]),
  'nothing but comments': sse([': hello\n\n']),
  'an error under another type': sse([data(error)], { headers: { 'content-type': 'application/json' } }),
  'JSON as events': sse([JSON.stringify(error)]),
  'a whole error': json(error),
}

const [start = '', block = '', ping = ''] = messageEvents('m', [], SOME_COUNTS)
const overloaded = named({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } })

/** The same of the Messages API. */
export const TOLD_MESSAGES: Readonly<Record<string, Behaviour>> = {
  'overloaded first': sse([overloaded]),
  'overloaded behind a ping': sse([ping, overloaded]),
  'overloaded behind its start': sse([start, block, ping, overloaded]),
  'nothing but its start': sse([start]),
  'nothing but its start and stop': sse([start, named({ type: 'message_stop' })]),
}

const [created = '', inProgress = '', added = ''] = responseEvents('m', ['a'], SOME_COUNTS)
const failed = { id: 'resp_1', status: 'failed', error: { code: 'server_error', message: 'no' }, output: [] }

/** The same of the Responses API. */
export const TOLD_RESPONSES: Readonly<Record<string, Behaviour>> = {
  failed: sse([created, named({ type: 'response.failed', response: failed })]),
  'failed in progress': sse([
    created,
    inProgress,
    added,
    named({ type: 'response.failed', response: failed }),
  ]),
  'an error': sse([created, named({ type: 'error', code: 'server_error', message: 'no', param: null })]),
  'completed without output': sse([
    created,
    named({ type: 'response.completed', response: { ...failed, status: 'completed', error: null } }),
  ]),
  'nothing but its beginning': sse([created, inProgress]),
}

/** Comments every so often, for a while, and then something. */
export function behindComments(ms: number, events: readonly string[], everyMs = 100): Behaviour {
  return {
    async act({ res }) {
      res.writeHead(200, { 'content-type': 'text/event-stream', ...OPENAI_HEADERS })
      for (let at = 0; at < ms; at += everyMs) {
        res.write(': PROCESSING\n\n')
        await setTimeout(everyMs)
      }
      res.end(events.join(''))
    },
  }
}

/** These events, so much silence, and then the others. */
export function pausing(first: readonly string[], ms: number, then: readonly string[]): Behaviour {
  return {
    async act({ res }) {
      res.writeHead(200, { 'content-type': 'text/event-stream', ...OPENAI_HEADERS })
      res.flushHeaders()
      if (first.length > 0) res.write(first.join(''))
      await setTimeout(ms)
      res.end(then.join(''))
    },
  }
}

/** JSON behind something that keeps its connection alive. */
export function pausingJson(first: string, then: string, ms = 100): Behaviour {
  return {
    async act({ res }) {
      res.writeHead(200, { 'content-type': 'application/json', ...OPENAI_HEADERS })
      res.write(first)
      await setTimeout(ms)
      res.end(then)
    },
  }
}

export const ERROR_EVENT = data(error)
export const ROLE_EVENT = role
