import { mintToken, startGateway, type TestGateway } from '../support/gateway.ts'
import { modelsFile, providerKeys } from '../support/models.ts'
import { startProvider } from '../support/provider.ts'
import type { Owner } from '../support/waiting.ts'
import { CROWD_MODELS, type Crowd, PICTURE } from './crowd.ts'

export interface OneGateway {
  gateway: TestGateway
  mint: Crowd['mint']
}

/** One process on files, whose only model costs one credit a picture. */
export async function openOneGateway(t: Owner): Promise<OneGateway> {
  const provider = await startProvider(t, { keepBodies: false })
  provider.answer(PICTURE)
  const models = modelsFile(t, { providers: { main: provider.url }, models: CROWD_MODELS('main') })
  const env = { ...providerKeys('main'), RATE_LIMIT_PER_MINUTE: '1000000' }
  const gateway = await startGateway(t, { modelsFile: models, env })
  return { gateway, mint: (credits) => mintToken(t, gateway, { user: 'crowd', credits }) }
}
