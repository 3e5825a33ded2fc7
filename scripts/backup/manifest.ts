import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { Failure } from '../command/failures.ts'

export const MANIFEST = 'backup.json'
/** Where the store is in a backup, whatever DB_DIR says: as in a fresh clone, so that it can be unpacked by hand. */
export const STORE_FOLDER = 'src/db'
/** What settings name by path: a file for each setting. */
export const NAMED_FOLDER = 'named-files'

export interface PackedFile {
  path: string
  bytes: number
  sha256: string
}

/** A file that a setting names, and where it was. */
export interface NamedFile {
  setting: string
  path: string
}

/** What a backup says of itself. */
export interface Manifest {
  version: 1
  at: string
  store: 'files' | 'redis'
  /** By docker-compose.prod.yml: scripts/restore.sh looks for it. */
  deployment: 'compose' | 'plain'
  files: PackedFile[]
  named: NamedFile[]
}

const PART = '[A-Za-z0-9_][A-Za-z0-9._-]*'
const REDIS = 'redis/appendonlydir/appendonly\\.aof\\.(1\\.base\\.rdb|manifest)'
const NAMED = new RegExp(`^${NAMED_FOLDER}/[A-Z][A-Z0-9_]*$`)
/** Everything that a backup may hold. */
const EXPECTED = [
  new RegExp(`^${STORE_FOLDER}/((replica-\\d+/)?(answers/)?${PART}|${REDIS})$`),
  /^letsencrypt\/acme\.json$/,
  /^edge\/(dashboard-users|certificates\/[\w-][\w.-]*\.(crt|key))$/,
  /^\.env$/,
  NAMED,
]
const FOLDERS = new RegExp(
  `^(src|letsencrypt|edge|edge/certificates|${NAMED_FOLDER}|${STORE_FOLDER}(/replica-\\d+)?(/answers|/redis|/redis/appendonlydir)?)$`,
)

/** Whether a backup may hold a file (or a folder, with a slash at its end) of this name. */
export function isExpected(name: string): boolean {
  const path = name.replace(/^\.\//, '')
  if (path.endsWith('/')) return FOLDERS.test(path.slice(0, -1))
  return path === MANIFEST || EXPECTED.some((pattern) => pattern.test(path))
}

export async function writeManifest(
  folder: string,
  about: Omit<Manifest, 'version' | 'files'>,
): Promise<Manifest> {
  const manifest: Manifest = { version: 1, ...about, files: await packedFiles(folder) }
  await writeFile(join(folder, MANIFEST), `${JSON.stringify(manifest, null, 1)}\n`, {
    mode: 0o600,
    flag: 'wx',
  })
  return manifest
}

/** The manifest of an unpacked backup, once every file is proven to be the one that was packed. */
export async function readManifest(folder: string): Promise<Manifest> {
  const manifest: Manifest = JSON.parse(await readFile(join(folder, MANIFEST), 'utf8'))
  if (manifest.version !== 1) throw new Failure(`it is of a newer version (${manifest.version})`)
  const found = new Map((await packedFiles(folder)).map((file) => [file.path, file]))
  // A setting that is none would lead out of the folder.
  const odd = manifest.named.find(({ setting }) => !NAMED.test(`${NAMED_FOLDER}/${setting}`))
  if (odd !== undefined) throw new Failure(`"${odd.setting}" names no file of it`)
  for (const { path, sha256 } of manifest.files) {
    const file = found.get(path)
    if (file === undefined) throw new Failure(`"${path}" is not in it, though it was packed`)
    if (file.sha256 !== sha256) throw new Failure(`"${path}" is not as it was packed`)
    found.delete(path)
  }
  const [stranger] = found.keys()
  if (stranger !== undefined) throw new Failure(`"${stranger}" is in it, though it was not packed`)
  return manifest
}

async function packedFiles(folder: string): Promise<PackedFile[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files: PackedFile[] = []
  for (const entry of entries) {
    if (entry.isDirectory()) continue
    const full = join(entry.parentPath, entry.name)
    const path = relative(folder, full).replaceAll('\\', '/')
    if (!entry.isFile()) throw new Failure(`"${path}" is neither a file nor a folder`)
    if (path !== MANIFEST) files.push({ path, ...(await measure(full)) })
  }
  return files
}

async function measure(path: string): Promise<{ bytes: number; sha256: string }> {
  const digest = createHash('sha256')
  let bytes = 0
  await pipeline(createReadStream(path), async (source) => {
    for await (const chunk of source) {
      bytes += chunk.length
      digest.update(chunk)
    }
  })
  return { bytes, sha256: digest.digest('hex') }
}
