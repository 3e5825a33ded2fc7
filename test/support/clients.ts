import { LLMock } from '@copilotkit/aimock'
import { mintToken, startGateway } from './gateway.ts'
import { modelsFile, providerKeys } from './models.ts'
import { startProvider } from './provider.ts'
import type { Owner } from './waiting.ts'

/** A mock of the providers that no one here wrote. */
async function startMock(t: Owner): Promise<LLMock> {
  const mock = new LLMock({ port: 0, host: '127.0.0.1', strict: true })
  mock.onMessage('hello', { content: 'Hi thére 👋!' })
  mock.onEmbedding('hello', { embedding: [0.25, -0.5, 1] })
  mock.onImage('a cat', { image: { b64Json: 'iVBORw0KGgo=' } })
  mock.onSpeech('hello', { audio: Buffer.from('not really mp3').toString('base64'), format: 'mp3' })
  mock.onTranscription({ transcription: { text: 'what was said' } })
  mock.onModerate('hello', { flagged: false, categories: { violence: false } })
  await mock.start()
  t.teardown(() => mock.stop())
  return mock
}

/** A gateway in front of that mock (and of a provider of our own, for what the mock lacks), for client libraries. */
export async function startForClients(t: Owner) {
  const mock = await startMock(t)
  const own = await startProvider(t)

  const gateway = await startGateway(t, {
    modelsFile: modelsFile(t, {
      providers: {
        mock: `${mock.url}/v1`,
        claude: { baseUrl: `${mock.url}/v1`, keyEnv: 'CLAUDE_TEST_KEY', dialect: 'anthropic' },
        own: own.url,
        own_claude: { baseUrl: own.url, keyEnv: 'OWN_CLAUDE_TEST_KEY', dialect: 'anthropic' },
      },
      models: {
        'gpt-4o': 'mock',
        'claude-opus-4-5': 'claude',
        'vendor/large': 'mock',
        'text-embedding-3-small': 'mock',
        'gpt-image-1': { plan: [{ provider: 'mock' }], price: { perImage: 4000 } },
        'tts-1': { plan: [{ provider: 'mock' }], price: { perCharacter: 0.5 } },
        'whisper-1': { plan: [{ provider: 'mock' }], price: { perSecond: 15 } },
        'omni-moderation-latest': 'mock',
        shaky: 'own',
        'shaky-claude': 'own_claude',
      },
    }),
    env: {
      ...providerKeys('mock', 'claude', 'own', 'own_claude'),
      DEMO_PROVIDER: 'on',
      RATE_LIMIT_PER_MINUTE: '10000',
    },
  })
  const token = await mintToken(t, gateway)
  const baseURL = `${gateway.url}/v1`
  return { gateway, own, token, baseURL }
}

/** What a client throws, with the name of its class. */
export async function refusal(asking: Promise<unknown>) {
  const error = await asking.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof Error)) throw new Error('it was not refused')
  return { ...error, kind: error.constructor.name, message: error.message }
}
