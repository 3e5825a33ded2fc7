import type { AddressInfo } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import type { Door } from './admin/door.ts'
import { buildApp, type Gateway } from './app.ts'
import { makeMaster, putMaster } from './auth/master.ts'
import { isDemoOn } from './config/catalog/models-file.ts'
import { openCatalog } from './config/catalog/source.ts'
import { findNearNames, isTrustedByNode, loadEnvFile, trustCertificates } from './config/env/env-file.ts'
import { SecretFiles } from './config/env/secret-files.ts'
import type { Settings } from './config/env/settings.ts'
import { SettingsError } from './config/mistakes.ts'
import { openDemoProvider } from './demo.ts'
import { codeOf } from './errors.ts'
import { FollowedSecrets, keysOf, secretsOf } from './followed-secrets.ts'
import type { Signals } from './signals.ts'
import type { OwnCounts } from './stores/contracts/places.ts'
import { openStores, StoreError, type StoreSettings, type Stores } from './stores/open.ts'
import { type Log, openLog } from './telemetry/logger/logger.ts'
import { showFirstSteps, warnOfFewFiles, warnOfOldNode } from './welcome.ts'

/** Wrong settings or a store that cannot be trusted (sysexits.h EX_CONFIG): starting again will not help. */
const EXIT_CONFIG = 78
/** What may be otherwise at the next start. */
const EXIT_FAILED = 1
/** The token command's socket takes a tenth of the start: it comes after the first answers. */
const DOOR_AFTER_MS = 50
/** A successor is there: so long its edge takes to see that this one leaves. */
const SUCCESSOR_DELAY_MS = 5_000
/** Cut streams get this long to settle after the drain. */
const LAST_SETTLEMENTS_MS = 5_000

function fail(text: string, code = EXIT_CONFIG): never {
  process.stderr.write(`${text}\n`)
  process.exit(code)
}

function readEnvironment(): FollowedSecrets {
  try {
    const isKnownToNode = isTrustedByNode(process.env)
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

/** Lets running requests end, cuts what is left, and settles. */
async function drain(
  { gateway, settings, stores, log, closeRest }: Running,
  wasServing: boolean,
): Promise<void> {
  const guests = stores.folder?.guests() ?? 0
  log.logger.info({ running: gateway.running(), successors: guests }, 'draining')
  const leastDelayMs = guests > 0 ? SUCCESSOR_DELAY_MS : 0
  await gateway.drain({
    delayMs: wasServing ? Math.max(leastDelayMs, settings.drainDelayMs) : 0,
    graceMs: settings.drainTimeoutMs,
    settleMs: LAST_SETTLEMENTS_MS,
  })
  await closeRest()
  await gateway.app.close()
  await stores.close()
  log.logger.info('stopped')
  await log.close()
}

function listenToSignals(signals: Signals, running: Running, reload: () => void): void {
  const { logger } = running.log
  signals.serve({
    reload,
    warn: (text) => logger.warn(text),
    stop: (wasServing) =>
      drain(running, wasServing).catch((error: unknown) => {
        logger.fatal({ err: error }, 'drain failed')
        throw error
      }),
  })
}

function endOnUnexpectedErrors({ logger, flush }: Log): void {
  process.on('uncaughtException', (error) => {
    logger.fatal({ err: error }, 'unexpected error: the process ends and is to be started again')
    void flush().finally(() => process.exit(EXIT_FAILED))
  })
}

async function openStoresOrFail(settings: StoreSettings & Settings): Promise<Stores> {
  try {
    return await openStores({ ...settings, takeOver: settings.storeTakeover === 'on' })
  } catch (error) {
    if (error instanceof StoreError)
      fail(error.message, error.reason === 'unreachable' ? EXIT_FAILED : EXIT_CONFIG)
    throw error
  }
}

async function putMasterOrFail({ tokens, close }: Stores, secret: string): Promise<void> {
  try {
    await putMaster(tokens, secret)
  } catch (error) {
    if (codeOf(error) !== 'name_taken') throw error
    await close()
    fail('ADMIN_FIRST is the secret of another token already: make one with "openssl rand -hex 32"')
  }
}

/** It opens before the stores: what they find wrong while they open is told as well. */
function openLogFor(settings: Settings): Log {
  const log = openLog({ dir: settings.logDir, level: settings.logLevel })
  log.hide(secretsOf(settings))
  for (const warning of settings.warnings)
    log.logger.warn({ warning }, 'a setting may not mean what it should')
  return log
}

/** Starts the gateway; from here on it ends by a signal. */
export async function start(signals: Signals): Promise<void> {
  const secrets = readEnvironment()
  const settings = secrets.settings()
  const log = openLogFor(settings)
  const { logger } = log
  const stores = await openStoresOrFail({
    ...settings,
    warn: (fields, text) => logger.warn(fields, text),
    tell: (fields, text) => logger.info(fields, text),
    onRefused: secrets.storeRefused,
  })
  signals.start()
  const demo = isDemoOn(settings) ? await openDemoProvider() : undefined
  let gateway: Gateway | undefined
  const changed = () => gateway?.catalogChanged()
  const catalog = openCatalogOrFail(settings, demo?.provider, { log, changed })
  if (settings.adminFirst !== undefined) await putMasterOrFail(stores, settings.adminFirst)
  let counts: OwnCounts | undefined
  gateway = await buildApp({
    settings,
    ...stores,
    onCounts: (own) => {
      counts = own
    },
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
  endOnUnexpectedErrors(log)
  await listenOrFail(gateway, settings)
  // The token is kept only when the start can no longer fail: one that was never shown would be lost for good.
  const shownSecret = settings.adminFirst === undefined ? await makeMaster(stores.tokens) : undefined
  const { models } = catalog.current()
  const port = tellListening(log, gateway, { host: settings.host, models: models.size })
  onceOwned(stores, () => {
    door = openDoor(stores, settings, logger)
    void stores.folder?.letIn(counts)
  })
  if (shownSecret) showFirstSteps(shownSecret, port, models.keys().next().value ?? 'gpt-4o')
  listenToSignals(signals, { gateway, settings, stores, log, closeRest }, () => secrets.reload())
  // pm2 waits for it when it is told to (`wait_ready`).
  process.send?.('ready')
}

/** The token command needs no server where there is Redis, and replicas may share the folder. */
function onceOwned({ folder }: Stores, open: () => void): void {
  // A moment after the first requests, which need no door; the token command waits for it.
  folder?.onceOwned(() => setTimeout(open, DOOR_AFTER_MS))
}

/** In a container the lines of `.env` are variables like all others, so none of them refuses the start. */
function warnOfNearNames({ logger }: Log): void {
  for (const warning of findNearNames(process.env)) logger.warn({ warning }, 'a variable is no setting')
}

/** Says where the gateway listens, and returns the port. */
function tellListening(log: Log, { app }: Gateway, facts: { host: string; models: number }): number {
  const { port } = app.server.address() as AddressInfo
  log.logger.info({ port, ...facts, node: process.versions.node }, 'listening')
  warnOfOldNode(log)
  warnOfFewFiles(log)
  setTimeout(warnOfNearNames, DOOR_AFTER_MS, log).unref()
  return port
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

function openCatalogOrFail(
  settings: Settings,
  demo: Parameters<typeof openCatalog>[0]['demo'],
  { log, changed }: { log: Log; changed(): void },
) {
  try {
    const source = openCatalog({
      settings,
      demo,
      onChange: () => {
        log.hide(keysOf(source.current()))
        log.logger.info('models file re-read')
        changed()
      },
      onMistake: (error) =>
        log.logger.error({ mistakes: error.mistakes }, 'models file refused: the old one stays'),
    })
    log.hide(keysOf(source.current()))
    return source
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error
    const isOfFile = error.mistakes.some((mistake) => mistake.includes('MODELS_FILE'))
    fail(
      `The gateway cannot start with ${isOfFile ? 'this models file' : 'these settings'}:\n${error.message}`,
    )
  }
}

if (import.meta.main) fail('This file starts nothing: run "npm start" or "node src/server.js"')
