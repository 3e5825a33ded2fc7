import { isDeepStrictEqual } from 'node:util'
import { putMaster } from './auth/master.ts'
import type { Catalog, Provider } from './config/catalog/catalog.ts'
import type { CatalogSource } from './config/catalog/source.ts'
import type { SecretFiles } from './config/env/secret-files.ts'
import { readSettings, type Settings } from './config/env/settings.ts'
import type { Stores } from './stores/open.ts'
import type { Log } from './telemetry/logger/logger.ts'

/** Whoever refuses what we know may be asked about it again and again: the files are read for it once in this time. */
const REFUSED_EVERY_MS = 1_000
const MASTER_AGAIN_MS = 5_000

/** What uses secrets, and takes others while it runs. */
export interface SecretUsers {
  log: Log
  catalog: CatalogSource
  stores: Pick<Stores, 'tokens' | 'renew'>
  /** The key of this provider is another one. */
  keyChanged(provider: string): void
}

/** The settings whose secrets may change while the gateway runs. */
export class FollowedSecrets {
  readonly #files: SecretFiles
  #now: Settings
  #users: SecretUsers | undefined
  /** The key of each provider for whose refusal the files were read last. */
  readonly #refusedKeys = new Map<string, string>()
  #rest: NodeJS.Timeout | undefined
  #masterTimer: NodeJS.Timeout | undefined

  /** `mistakes` are those of the `.env` file: told together with the settings' own. */
  constructor(files: SecretFiles, mistakes: readonly string[] = []) {
    this.#files = files
    this.#now = this.#read(undefined, mistakes)
  }

  /** What needs a secret asks each time, or is told by `watch`. */
  settings(): Settings {
    const { proxyFor, serviceProxyFor } = this.#now
    return {
      ...this.#now,
      proxyFor: proxyFor && ((target) => this.#now.proxyFor?.(target)),
      serviceProxyFor: serviceProxyFor && ((target) => this.#now.serviceProxyFor?.(target)),
      jwt: () => this.#now.jwt(),
      internalKey: () => this.#now.internalKey(),
    }
  }

  /** Follows the files until `close`. */
  watch(users: SecretUsers): void {
    this.#users = users
    const { extraCertificates } = this.#now
    this.#files.watch({
      // Certificates count as they were at the start: their file may be gone by now, and no secret's change fails for it.
      read: (env) => ({ ...this.#read({ ...env, NODE_EXTRA_CA_CERTS: undefined }), extraCertificates }),
      onChange: (settings, names) => this.#use(settings, names, users),
      onMistake: (name, mistake) =>
        users.log.logger.error(
          { variable: `${name}_FILE`, mistake },
          'secret refused: the one from before stays in force',
        ),
      onMended: (name) =>
        users.log.logger.info({ variable: `${name}_FILE` }, 'the file says again what is in force'),
    })
  }

  /** Reads all that stands in files again at once (SIGHUP): the secrets first, for the models file names some. */
  reload(): void {
    const text =
      'reload: secrets of files and the models file are read again; variables and .env count at a start'
    this.#users?.log.logger.info(text)
    this.#files.reread()
    this.#users?.catalog.reload()
  }

  /** A provider refused this key: its file is read again, once. */
  keyRefused = ({ name, key }: Provider): void => {
    if (key === undefined || this.#refusedKeys.get(name) === key) return
    this.#refusedKeys.set(name, key)
    setImmediate(() => this.#files.reread())
  }

  /** A store refused who we say we are. */
  storeRefused = (): void => {
    if (this.#rest) return
    this.#rest = setTimeout(() => {
      this.#rest = undefined
    }, REFUSED_EVERY_MS).unref()
    setImmediate(() => this.#files.reread())
  }

  close(): void {
    clearTimeout(this.#rest)
    clearTimeout(this.#masterTimer)
    this.#files.close()
  }

  #read(env = this.#files.env(), mistakes: readonly string[] = []): Settings {
    // A models file names secrets of its own, at any time.
    return { ...readSettings(env, mistakes), readKey: (name) => this.#files.read(name) }
  }

  #use(settings: Settings, names: readonly string[], users: SecretUsers): void {
    const { log, catalog, stores, keyChanged } = users
    const { adminFirst, jwt } = this.#now
    log.hide(secretsOf(settings))
    // Whoever has verified by it keeps what it knows, unless it is another one.
    this.#now = isDeepStrictEqual(settings.jwt(), jwt()) ? { ...settings, jwt } : settings
    const old = catalog.current()
    catalog.renew(settings)
    log.hide(keysOf(catalog.current()))
    for (const [name, { key }] of catalog.current().providers)
      if (old.providers.get(name)?.key !== key) keyChanged(name)
    stores.renew(settings)
    if (settings.adminFirst !== adminFirst) this.#putMaster(users)
    const variables = names.map((name) => `${name}_FILE`)
    log.logger.info({ variables }, 'secrets re-read: what begins from now on uses them')
  }

  #putMaster(users: SecretUsers): void {
    const { adminFirst } = this.#now
    if (adminFirst === undefined) return
    clearTimeout(this.#masterTimer)
    putMaster(users.stores.tokens, adminFirst).catch((error) => {
      const text = 'the new master token could not be stored yet: the one from before stays until then'
      users.log.logger.error({ err: error }, text)
      this.#masterTimer = setTimeout(() => this.#putMaster(users), MASTER_AGAIN_MS).unref()
    })
  }
}

export function keysOf({ providers }: Catalog): string[] {
  return [...providers.values()].flatMap(({ key }) => (key === undefined ? [] : [key]))
}

/** What no line of the log may hold. */
export function secretsOf({
  adminFirst,
  redis,
  databaseUrl,
  proxySecrets,
  jwt,
  internalKey,
}: Settings): string[] {
  const database = databaseUrl === undefined ? [] : [databaseUrl, ...passwordsOf(databaseUrl)]
  const ofServices = [jwt()?.secret, jwt()?.previousSecret, internalKey()]
  const ofRedis = [redis?.password, redis?.sentinelPassword]
  return [adminFirst, ...ofRedis, ...database, ...proxySecrets, ...ofServices].filter(
    (secret) => secret !== undefined,
  )
}

/** As it stands in the URL, and as it is. */
function passwordsOf(url: string): string[] {
  const password = URL.parse(url)?.password ?? ''
  if (password === '') return []
  try {
    return [password, decodeURIComponent(password)]
  } catch {
    return [password]
  }
}
