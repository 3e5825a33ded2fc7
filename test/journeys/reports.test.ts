import t from 'tap'
import { type Behaviour, json } from '../support/behaviour.ts'
import { bearer, post } from '../support/client.ts'
import { startJourney, waitForRow } from '../support/journey.ts'
import { sse } from '../support/stream-behaviours.ts'

const price = { input: 1, cachedInput: 0.1, output: 4 }
const { gateway, providers, token } = await startJourney(t, {
  providers: ['one', 'two'],
  entries: { two: { dialect: 'anthropic' } },
  models: {
    chat: { plan: [{ provider: 'one' }], price },
    claude: { plan: [{ provider: 'two' }], price: { input: 1, output: 1 } },
  },
  token: { credits: 10_000_000 },
})
const auth = bearer(token)

const said = { index: 0, message: { role: 'assistant', content: 'hi' }, finish_reason: 'stop' }
const thousand = { prompt_tokens: 200, completion_tokens: 200, total_tokens: 400 }
const event = (data: unknown) => `data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`
const word = event({ choices: [{ index: 0, delta: { content: 'hi' } }] })
const compaction = {
  input_tokens: 23_000,
  output_tokens: 1_000,
  iterations: [
    { type: 'compaction', input_tokens: 180_000, output_tokens: 3_500 },
    { type: 'message', input_tokens: 23_000, output_tokens: 1_000 },
  ],
}

interface Case {
  name: string
  model?: string
  stream?: boolean
  answer: Behaviour
  charged: number
  estimated?: number
}

const cases: Case[] = [
  {
    name: 'a cache that is counted beside the prompt',
    answer: json({
      choices: [said],
      usage: {
        prompt_tokens: 368,
        completion_tokens: 19,
        total_tokens: 10_923,
        cache_read_input_tokens: 10_536,
      },
    }),
    charged: 1497.6,
  },
  {
    name: 'a report in front of 20 KB',
    answer: json({ usage: thousand, choices: [said], pad: 'x'.repeat(20_000) }),
    charged: 1000,
  },
  {
    name: 'a report in front of an answer that is too long to be held back',
    answer: json({ usage: thousand, choices: [said], pad: 'x "y" '.repeat(100_000) }),
    charged: 1000,
  },
  {
    name: 'a report in front of a long last event',
    stream: true,
    answer: sse([
      word,
      event({ usage: thousand, choices: [{ index: 0, delta: {} }], pad: 'x'.repeat(20_000) }),
      event('[DONE]'),
    ]),
    charged: 1000,
  },
  ...[
    { x_groq: { usage: thousand }, choices: [{ index: 0, delta: {} }] },
    { choices: [{ index: 0, delta: {}, usage: thousand }] },
  ].map((last) => ({
    name: `a report inside of a long last event: ${Object.keys(last)[0]}`,
    stream: true,
    answer: sse([word, event({ pad: 'x'.repeat(20_000), ...last }), event('[DONE]')]),
    charged: 1000,
  })),
  {
    name: 'a report that many events follow',
    stream: true,
    answer: sse([
      word,
      event({ usage: thousand, choices: [{ index: 0, delta: { content: 'x' } }] }),
      ...Array.from({ length: 400 }, () =>
        event({ choices: [{ index: 0, delta: {} }], pad: 'x'.repeat(60) }),
      ),
      event('[DONE]'),
    ]),
    charged: 1000,
  },
  {
    name: 'a report of several lines of data',
    stream: true,
    answer: sse(
      [
        word,
        `${JSON.stringify({ choices: [said], usage: thousand }, null, 1).replace(/^/gm, 'data: ')}\n\n`,
        event('[DONE]'),
      ],
      { chunking: 11 },
    ),
    charged: 1000,
  },
  {
    name: 'more cached than there was prompt',
    answer: json({
      choices: [said],
      usage: { ...thousand, prompt_tokens_details: { cached_tokens: 5_000 } },
    }),
    charged: 1000,
    estimated: 1,
  },
  {
    name: 'a total that its parts do not explain',
    answer: json({ choices: [said], usage: { ...thousand, total_tokens: 9_999_999 } }),
    charged: 1000,
    estimated: 1,
  },
  {
    name: 'a conversation that was summarized first',
    model: 'claude',
    answer: json({ type: 'message', content: [{ type: 'text', text: 'hi' }], usage: compaction }),
    charged: 207_500,
  },
  {
    name: 'a conversation that was summarized first, streamed',
    model: 'claude',
    stream: true,
    answer: sse([
      event({ type: 'message_start', message: { usage: { input_tokens: 23_000, output_tokens: 1 } } }),
      event({ type: 'content_block_delta', delta: { type: 'text_delta', text: 'hi' } }),
      event({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: compaction }),
      event({ type: 'message_stop' }),
    ]),
    charged: 207_500,
  },
]

for (const { name, model = 'chat', stream = false, answer, charged, estimated = 0 } of cases)
  t.test(`charged in full: ${name}`, async (t) => {
    providers.one.queue(...(model === 'chat' ? [answer] : []))
    providers.two.queue(...(model === 'chat' ? [] : [answer]))
    const messages = [{ role: 'user', content: 'hi '.repeat(20) }]
    const path = model === 'chat' ? '/v1/chat/completions' : '/v1/messages'
    const body = { model, stream, messages, max_tokens: 250_000 }
    const reply = await post(gateway, path, body, auth)
    t.equal(reply.status, 200)
    const row = await waitForRow(gateway, String(reply.headers['x-request-id']))
    const micros = Math.round(charged * 1e6)
    t.match(row, { cost_micros: micros, charged_micros: micros, estimated })
  })

t.test('an answer that is too long to be held back and reports nothing is counted by its text', async (t) => {
  const content = 'The river bends twice before it meets the old stone bridge. '.repeat(6000)
  providers.one.queue(json({ choices: [{ index: 0, message: { role: 'assistant', content } }] }))
  const body = { model: 'chat', messages: [{ role: 'user', content: 'hi' }], max_tokens: 250_000 }
  const reply = await post(gateway, '/v1/chat/completions', body, auth)
  const row = await waitForRow(gateway, String(reply.headers['x-request-id']))
  t.match(row, { status: 200, estimated: 1 })
  // Twelve LLM tokens a sentence.
  t.ok(Number(row.output_tokens) > 65_000 && Number(row.output_tokens) < 85_000, `${row.output_tokens}`)
})
