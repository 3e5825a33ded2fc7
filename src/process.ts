import type { AddressInfo } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import type { Door } from './admin/door.ts'
import { buildApp, type Gateway } from './app.ts'
import { makeMaster, putMaster } from './auth/master.ts'
import { isDemoOn } from './config/catalog/models-file.ts'
import { openCatalog } from './config/catalog/source.ts'
import { loadEnvFile, trustCertificates } from './config/env/env-file.ts'
import { SecretFiles } from './config/env/secret-files.ts'
import type { Settings } from './config/env/settings.ts'
import { SettingsError } from './config/mistakes.ts'
import { openDemoProvider } from './demo.ts'
import { codeOf } from './errors.ts'
import { FollowedSecrets, keysOf, secretsOf } from './followed-secrets.ts'
import { openStores, StoreError, type StoreSettings, type Stores } from './stores/open.ts'
import { type Log, openLog } from './telemetry/logger/logger.ts'
import { showFirstSteps, warnOfFewFiles, warnOfOldNode } from './welcome.ts'

/** Wrong settings or a store that cannot be trusted (sysexits.h EX_CONFIG): starting again will not help. */
const EXIT_CONFIG = 78
/** What may be otherwise at the next start. */
const EXIT_FAILED = 1
/** The token command's socket takes a tenth of the start: it comes after the first answers. */
const DOOR_AFTER_MS = 50
/** Cut streams get this long to settle after the drain. */
const LAST_SETTLEMENTS_MS = 5_000

function fail(text: string, code = EXIT_CONFIG): never {
  process.stderr.write(`${text}\n`)
  process.exit(code)
}

function readEnvironment(): FollowedSecrets {
  try {
    const isKnownToNode = Boolean(process.env.NODE_EXTRA_CA_CERTS)
    const ofFile = loadEnvFile('.env', process.env)
    const secrets = new FollowedSecrets(new SecretFiles(process.env), ofFile)
    if (!isKnownToNode) trustCertificates(secrets.settings().extraCertificates)
    return secrets
  } catch (error) {
    if (error instanceof SettingsError)
      fail(`The gateway cannot start with these settings:\n${error.message}`)
    throw error
  }
}

interface Running {
  gateway: Gateway
  settings: Settings
  stores: Stores
  log: Log
  closeRest(): Promise<void>
}

/** Lets running requests end, cuts what is left, settles, and leaves with 0. */
async function drain({ gateway, settings, stores, log, closeRest }: Running): Promise<void> {
  log.logger.info({ running: gateway.running() }, 'draining')
  await gateway.drain({
    delayMs: settings.drainDelayMs,
    graceMs: settings.drainTimeoutMs,
    settleMs: LAST_SETTLEMENTS_MS,
  })
  await closeRest()
  await gateway.app.close()
  await stores.close()
  log.logger.info('stopped')
  await log.close()
}

function handleSignals(running: Running, reload: () => void): void {
  let isStopping = false
  const stop = (): void => {
    if (isStopping) process.exit(1)
    isStopping = true
    drain(running).then(
      () => process.exit(0),
      (error) => {
        running.log.logger.fatal({ err: error }, 'drain failed')
        process.exit(1)
      },
    )
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  process.on('SIGHUP', reload)
  process.on('uncaughtException', (error) => {
    running.log.logger.fatal({ err: error }, 'unexpected error: the process ends and is to be started again')
    void running.log.flush().finally(() => process.exit(1))
  })
}

async function openStoresOrFail(settings: StoreSettings): Promise<Stores> {
  try {
    return await openStores(settings)
  } catch (error) {
    if (error instanceof StoreError)
      fail(error.message, error.reason === 'unreachable' ? EXIT_FAILED : EXIT_CONFIG)
    throw error
  }
}

async function start(): Promise<void> {
  const secrets = readEnvironment()
  const settings = secrets.settings()
  // The log opens before the stores: what they find wrong while they open is told as well.
  const log = openLog({ dir: settings.logDir, level: settings.logLevel })
  log.hide(secretsOf(settings))
  const { logger } = log
  const stores = await openStoresOrFail({
    ...settings,
    warn: (fields, text) => logger.warn(fields, text),
    onRefused: secrets.storeRefused,
  })
  const demo = isDemoOn(settings) ? await openDemoProvider() : undefined
  const catalog = openCatalogOrFail(settings, demo?.provider, log)
  if (settings.adminFirst !== undefined) await putMaster(stores.tokens, settings.adminFirst)
  const gateway = await buildApp({
    settings,
    ...stores,
    catalog: catalog.current,
    keyRefused: secrets.keyRefused,
    logger,
  })
  let door: Promise<Door | undefined> | undefined
  const closeRest = async (): Promise<void> => {
    secrets.close()
    catalog.close()
    const opened = await door
    await opened?.close()
    await demo?.close()
  }
  secrets.watch({ log, catalog, stores, keyChanged: gateway.keyChanged })
  handleSignals({ gateway, settings, stores, log, closeRest }, () => secrets.reload())
  await listenOrFail(gateway, settings)
  // The token is kept only when the start can no longer fail: one that was never shown would be lost for good.
  const shownSecret = settings.adminFirst === undefined ? await makeMaster(stores.tokens) : undefined
  const { port } = gateway.app.server.address() as AddressInfo
  logger.info(
    { port, host: settings.host, models: catalog.current().models.size, node: process.versions.node },
    'listening',
  )
  warnOfOldNode(log)
  warnOfFewFiles(log)
  // A moment after the first requests, which need no door; the token command waits for it.
  setTimeout(() => {
    // The token command needs no server where there is Redis, and replicas may share the folder.
    if (settings.redis === undefined) door = openDoor(stores, settings, logger)
  }, DOOR_AFTER_MS)
  if (shownSecret) showFirstSteps(shownSecret, port, catalog.current().models.keys().next().value ?? 'gpt-4o')
}

/** The gateway serves without a door all the same: only tokens cannot be made beside it. */
async function openDoor(
  { tokens }: Stores,
  { dbDir }: Settings,
  logger: FastifyBaseLogger,
): Promise<Door | undefined> {
  try {
    const { openAdminDoor } = await import('./admin/door.ts')
    return await openAdminDoor({ tokens, dbDir, logger })
  } catch (error) {
    logger.error({ err: error }, 'the token command cannot reach this server: its socket could not be opened')
    return undefined
  }
}

async function listenOrFail({ app }: Gateway, { port, host }: Settings): Promise<void> {
  try {
    await app.listen({ port, host })
  } catch (error) {
    const code = String(codeOf(error) ?? 'unknown')
    const way =
      code === 'EADDRINUSE' ? 'stop what uses that port, or set another PORT' : 'check PORT and HOST'
    fail(`The gateway cannot listen on ${host}:${port} (${code}): ${way}`, EXIT_FAILED)
  }
}

function openCatalogOrFail(settings: Settings, demo: Parameters<typeof openCatalog>[0]['demo'], log: Log) {
  try {
    const source = openCatalog({
      settings,
      demo,
      onChange: () => {
        log.hide(keysOf(source.current()))
        log.logger.info('models file re-read')
      },
      onMistake: (error) =>
        log.logger.error({ mistakes: error.message }, 'models file refused: the old one stays'),
    })
    log.hide(keysOf(source.current()))
    return source
  } catch (error) {
    if (error instanceof SettingsError)
      fail(`The gateway cannot start with this models file:\n${error.message}`)
    throw error
  }
}

await start()
