/** Token counts as a test states them; the wire shapes are made from these. */
export interface Counts {
  input: number
  cached?: number
  output: number
  reasoning?: number
}

export const SOME_COUNTS: Counts = { input: 12, cached: 0, output: 7, reasoning: 0 }

const CREATED = 1_790_000_000

/** Chat Completions' `usage`. */
export function chatUsage({ input, cached = 0, output, reasoning = 0 }: Counts) {
  return {
    prompt_tokens: input,
    completion_tokens: output,
    total_tokens: input + output,
    prompt_tokens_details: { cached_tokens: cached, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: reasoning,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  }
}

/** Responses' `usage`. */
export function responseUsage({ input, cached = 0, output, reasoning = 0 }: Counts) {
  return {
    input_tokens: input,
    input_tokens_details: { cached_tokens: cached },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: reasoning },
    total_tokens: input + output,
  }
}

/** A whole chat answer, as api.openai.com writes it. */
export function chatBody(model: string, content: string, usage: Counts | undefined) {
  return {
    id: 'chatcmpl-CtestB2kq9',
    object: 'chat.completion',
    created: CREATED,
    model,
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content, refusal: null, annotations: [] },
        logprobs: null,
        finish_reason: 'stop',
      },
    ],
    ...(usage === undefined ? {} : { usage: chatUsage(usage) }),
    service_tier: 'default',
    system_fingerprint: 'fp_44709d6fcb',
  }
}

function dataEvent(body: object) {
  return `data: ${JSON.stringify(body)}\n\n`
}
function namedEvent(body: { type: string; [field: string]: unknown }) {
  return `event: ${body.type}\n${dataEvent(body)}`
}

export interface ChatStreamShape {
  model: string
  words: readonly string[]
  /** `separate`: in an extra chunk without choices; `in-finish`: beside the finish reason. */
  usageAt: 'separate' | 'in-finish' | 'nowhere'
  usage: Counts
  /** Whether the chunks before say `"usage":null`, as OpenAI's do when usage was asked for. */
  usageNull: boolean
  done: boolean
}

/** The events of a streamed chat answer. */
export function chatEvents(shape: ChatStreamShape): string[] {
  const base = {
    id: 'chatcmpl-CtestB2kq9',
    object: 'chat.completion.chunk',
    created: CREATED,
    model: shape.model,
    service_tier: 'default',
    system_fingerprint: 'fp_44709d6fcb',
  }
  const noUsage = shape.usageNull ? { usage: null } : {}
  const chunk = (delta: object, finish: string | null = null, usage: object = noUsage) =>
    dataEvent({ ...base, choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }], ...usage })
  const counted = { usage: chatUsage(shape.usage) }
  const events = [chunk({ role: 'assistant', content: '', refusal: null })]
  for (const word of shape.words) events.push(chunk({ content: word }))
  events.push(chunk({}, 'stop', shape.usageAt === 'in-finish' ? counted : noUsage))
  if (shape.usageAt === 'separate') events.push(dataEvent({ ...base, choices: [], ...counted }))
  if (shape.done) events.push('data: [DONE]\n\n')
  return events
}

/** A whole answer of the Responses API. */
export function responseBody(model: string, text: string, usage: Counts) {
  return {
    id: 'resp_0test67ccd3a9da7481',
    object: 'response',
    created_at: CREATED,
    status: 'completed',
    error: null,
    incomplete_details: null,
    model,
    output: [
      {
        type: 'message',
        id: 'msg_0test67ccd3acc8d48',
        status: 'completed',
        role: 'assistant',
        content: [{ type: 'output_text', text, annotations: [] }],
      },
    ],
    parallel_tool_calls: true,
    store: true,
    usage: responseUsage(usage),
  }
}

/** The events of a streamed Responses answer: it ends with `response.completed`, without `[DONE]`. */
export function responseEvents(model: string, words: readonly string[], usage: Counts): string[] {
  const whole = responseBody(model, words.join(''), usage)
  const begun = { ...whole, status: 'in_progress', output: [], usage: null }
  const part = { item_id: 'msg_0test67ccd3acc8d48', output_index: 0, content_index: 0 }
  const bodies: { type: string; [field: string]: unknown }[] = [
    { type: 'response.created', response: begun },
    { type: 'response.in_progress', response: begun },
    { type: 'response.output_item.added', output_index: 0, item: { ...whole.output[0], content: [] } },
    ...words.map((delta) => ({ type: 'response.output_text.delta', ...part, delta })),
    { type: 'response.output_text.done', ...part, text: words.join('') },
    { type: 'response.output_item.done', output_index: 0, item: whole.output[0] },
    { type: 'response.completed', response: whole },
  ]
  return bodies.map((body, index) => namedEvent({ ...body, sequence_number: index }))
}

function messageUsage({ input, cached = 0, output }: Counts) {
  return {
    input_tokens: input - cached,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cached,
    output_tokens: output,
    service_tier: 'standard',
  }
}

/** A whole answer of Anthropic's Messages API. */
export function messageBody(model: string, text: string, usage: Counts) {
  return {
    id: 'msg_01testXFDUDYJgAACzvnptvVoYEL',
    type: 'message',
    role: 'assistant',
    model,
    content: [{ type: 'text', text }],
    stop_reason: 'end_turn',
    stop_sequence: null,
    usage: messageUsage(usage),
  }
}

/** The events of a streamed Anthropic answer: input is counted in the first, output in the last but one. */
export function messageEvents(model: string, words: readonly string[], usage: Counts): string[] {
  const whole = messageBody(model, '', { ...usage, output: 1 })
  const bodies: { type: string; [field: string]: unknown }[] = [
    { type: 'message_start', message: { ...whole, content: [], stop_reason: null } },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    { type: 'ping' },
    ...words.map((text) => ({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })),
    { type: 'content_block_stop', index: 0 },
    {
      type: 'message_delta',
      delta: { stop_reason: 'end_turn', stop_sequence: null },
      usage: { output_tokens: usage.output },
    },
    { type: 'message_stop' },
  ]
  return bodies.map(namedEvent)
}
