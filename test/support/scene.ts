import { join } from 'node:path'
import { temporaryFolder } from './gateway.ts'
import { modelsFile, providerKeys } from './models.ts'
import { startProvider } from './provider.ts'
import type { Owner } from './waiting.ts'

/** A small paid request to the scene's model. */
export function ask(stream: boolean) {
  return {
    model: 'm',
    stream,
    max_tokens: 50,
    messages: [{ role: 'user', content: 'hi' }],
  }
}

/** A provider and the settings of a gateway that asks it. */
export async function openScene(t: Owner) {
  const provider = await startProvider(t)
  const path = modelsFile(t, { providers: { main: provider.url }, models: { m: 'main' } })
  const folders = { dbDir: join(temporaryFolder(t), 'db'), logDir: join(temporaryFolder(t), 'logs') }
  const env = { ...providerKeys('main'), RATE_LIMIT_PER_MINUTE: '100000' }
  return { provider, path, options: { modelsFile: path, env, ...folders } }
}
