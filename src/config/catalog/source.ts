import { readFileSync, statSync, unwatchFile, watchFile } from 'node:fs'
import { readCode, SettingsError } from '../mistakes.ts'
import type { Catalog, CatalogSettings, Provider } from './catalog.ts'
import { buildCatalog, isDemoOn, MAX_FILE_BYTES } from './models-file.ts'

/** The catalog in force; a models file that changes takes effect without a restart. */
export interface CatalogSource {
  current(): Catalog
  /** Reads the models file and its keys again at once (SIGHUP). */
  reload(): void
  /** Other settings are in force, such as new keys of providers: the catalog is made anew of the text in force. */
  renew(settings: CatalogSettings): void
  close(): void
}

export interface CatalogSourceOptions {
  settings: CatalogSettings
  /** The offline provider; it joins the catalog only while `isDemoOn`. */
  demo?: Provider | undefined
  /** A new catalog is in force. */
  onChange(): void
  /** The file was wrong; the old catalog stays in force. */
  onMistake(error: SettingsError): void
}

const LOOK_EVERY_MS = 300
/** An editor truncates, writes and renames: a file that just changed is left alone for so long. */
const REST_MS = 100

/** Reads the catalog, or throws SettingsError; then follows the models file until closed. */
export function openCatalog(options: CatalogSourceOptions): CatalogSource {
  const path = options.settings.modelsFile
  let seen = path === undefined ? undefined : readModelsFile(path)
  let { settings } = options
  let text = seen
  let catalog = build(options, text)
  let rest: NodeJS.Timeout | undefined

  const use = (next: CatalogSettings, nextText: string | undefined) => {
    catalog = build({ ...options, settings: next }, nextText)
    ;[settings, text] = [next, nextText]
  }
  const attempt = (work: () => void) => {
    try {
      work()
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error
      options.onMistake(error)
    }
  }
  const reread = (mayStay: boolean) =>
    attempt(() => {
      const found = path === undefined ? undefined : readModelsFile(path)
      if (mayStay && found === seen) return
      seen = found
      use(settings, found)
      options.onChange()
    })
  const look = () => {
    clearTimeout(rest)
    rest = setTimeout(reread, REST_MS, true).unref()
  }
  // The file is polled: a watch on its inode goes blind when an editor or a bind mount replaces it.
  if (path !== undefined) {
    watchFile(path, { interval: LOOK_EVERY_MS, persistent: false }, look)
    // The watch knows the file as of its own first look: what changed since ours would stay unseen.
    look()
  }
  return {
    current: () => catalog,
    reload: () => reread(false),
    renew: (next) => attempt(() => use(next, text)),
    close: () => {
      clearTimeout(rest)
      if (path !== undefined) unwatchFile(path, look)
    },
  }
}

function build({ settings, demo }: CatalogSourceOptions, text: string | undefined): Catalog {
  return buildCatalog({ settings, text, demo: isDemoOn(settings, text) ? demo : undefined })
}

function readModelsFile(path: string): string {
  try {
    const file = statSync(path)
    if (!file.isFile()) throw new SettingsError(['MODELS_FILE must name a regular file'])
    if (file.size > MAX_FILE_BYTES) throw new SettingsError(['MODELS_FILE is larger than 1 MiB'])
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof SettingsError) throw error
    throw new SettingsError([
      `MODELS_FILE cannot be read (${readCode(error)}): check the path, or unset it to use the built-in catalog`,
    ])
  }
}
