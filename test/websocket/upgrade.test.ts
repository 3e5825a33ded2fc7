import { join } from 'node:path'
import t from 'tap'
import { buildApp } from '../../src/app.ts'
import { buildCatalog } from '../../src/config/catalog/models-file.ts'
import { readSettings } from '../../src/config/env/settings.ts'
import { openStores } from '../../src/stores/open.ts'
import { openLog } from '../../src/telemetry/logger/logger.ts'
import { folder } from '../stores/folders.ts'

t.test('one owner has the upgrade event, also beside a proxied path', async (t) => {
  const dir = await folder(t)
  const settings = readSettings({
    DB_DIR: dir,
    OPENAI_ORIGINAL_API_KEY: 'sk-test',
    PASSTHROUGH_PATHS: '/v1/files,/api=http://127.0.0.1:1/api',
    WS_ROUTES: '/ws=ws://127.0.0.1:1/ws,/open=ws://127.0.0.1:1/ws!open',
  })
  const stores = await openStores({ dbDir: dir })
  const log = openLog({ dir: join(dir, 'logs'), level: 'error' })
  const catalog = buildCatalog({ settings })
  const { app } = await buildApp({ settings, ...stores, catalog: () => catalog, logger: log.logger })
  t.teardown(async () => {
    await app.close()
    await stores.close()
    await log.close()
  })
  await app.ready()
  t.equal(app.server.listenerCount('upgrade'), 1)
})
