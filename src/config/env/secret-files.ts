import { unwatchFile, watchFile } from 'node:fs'
import { KNOWN_PROVIDERS } from '../catalog/providers.ts'
import { SettingsError } from '../mistakes.ts'
import { type Environment, readSecret, readText } from './secrets.ts'

/** Every secret of the settings that may stand in a file (`NAME_FILE`); those of a models file's `keyEnv` join them. */
const SECRETS: readonly string[] = [
  ...KNOWN_PROVIDERS.map(({ keyVariable }) => keyVariable),
  'ADMIN_FIRST',
  'METRICS_KEY',
  'INTERNAL_API_KEY',
  'JWT_SECRET',
  'JWT_SECRET_PREVIOUS',
  'JWT_PUBLIC_KEY',
  'REDIS_URL',
  'DATABASE_URL',
  'HTTPS_PROXY',
  'HTTP_PROXY',
]

export interface SecretFollower<T> {
  /** What the gateway makes of an environment; throws a `SettingsError` when that cannot be. */
  read(env: Environment): T
  /** What is in force from now on, and which secrets are other ones. */
  onChange(read: T, names: readonly string[]): void
  /** The file says nothing that can be used: the old value stays. Once for each mistake. */
  onMistake(name: string, mistake: string): void
  /** The file that was wrong says again what is in force. */
  onMended(name: string): void
}

const LOOK_EVERY_MS = 500
/** Whoever replaces secrets replaces several, and an editor truncates before it writes. */
const REST_MS = 100
/** What could not be read may be there again without a change that could be seen: this process had no descriptor left. */
const AGAIN_MS = 2_000

/**
 * The environment with the secrets of files in it, as they were read last; files that change are read again. They are
 * polled by name, since a watch on an inode sees neither Kubernetes turn the link of a mounted folder (`..data`), nor a
 * rename over the file, and nothing at all on some network disks.
 */
export class SecretFiles {
  readonly #given: Environment
  #inForce: Environment
  readonly #names = new Set<string>()
  readonly #mistakes = new Map<string, string>()
  readonly #looks: (() => void)[] = []
  #watch: ((name: string) => void) | undefined
  #reread: () => void = () => undefined

  constructor(env: Environment, names: readonly string[] = SECRETS) {
    this.#given = { ...env }
    this.#inForce = this.#given
    for (const name of names) this.follow(name)
  }

  /** Each secret stands in it by its own name; what could not be read still names its file. */
  env(): Environment {
    return this.#inForce
  }

  /**
   * A secret by its name, which is followed from now on: as its file says at this moment, or where that fails as it said
   * before. Throws a `SettingsError` when it never said anything.
   */
  read(name: string): string | undefined {
    this.follow(name)
    const { value, mistake } = readSecret(this.#given, name)
    if (mistake === undefined) return value
    const kept = this.#names.has(name) ? this.#inForce[name] : undefined
    if (kept === undefined) throw new SettingsError([mistake])
    return kept
  }

  /** From now on this secret is followed too, where it stands in a file. */
  follow(name: string): void {
    if (this.#names.has(name) || readText(this.#given, `${name}_FILE`) === undefined) return
    this.#names.add(name)
    const { value, mistake } = readSecret(this.#given, name)
    if (mistake === undefined) this.#inForce = this.#with(name, value)
    this.#watch?.(name)
  }

  /** Begins to look; until `close`. */
  watch<T>(follower: SecretFollower<T>): void {
    let rest: NodeJS.Timeout | undefined
    const look = (afterMs: number): void => {
      clearTimeout(rest)
      rest = setTimeout(() => this.#reread(), afterMs).unref()
    }
    const soon = (): void => look(REST_MS)
    this.#reread = () => {
      this.#rereadFor(follower)
      if (this.#mistakes.size > 0) look(AGAIN_MS)
    }
    this.#watch = (name) => {
      const path = readText(this.#given, `${name}_FILE`) ?? ''
      watchFile(path, { interval: LOOK_EVERY_MS, persistent: false }, soon)
      this.#looks.push(() => unwatchFile(path, soon))
    }
    for (const name of this.#names) this.#watch(name)
    // A watch knows a file as of its own first look: what changed before would stay unseen.
    if (this.#names.size > 0) soon()
    this.#looks.push(() => clearTimeout(rest))
  }

  /** Reads all of them again at once. */
  reread(): void {
    this.#reread()
  }

  close(): void {
    for (const end of this.#looks.splice(0)) end()
    this.#watch = undefined
    this.#reread = () => undefined
  }

  #rereadFor<T>({ read, onChange, onMistake, onMended }: SecretFollower<T>): void {
    const changed: string[] = []
    let fresh: T | undefined
    for (const name of this.#names) {
      const { value, mistake } = readSecret(this.#given, name)
      const env = this.#with(name, value)
      const isSame = mistake === undefined && value === this.#inForce[name]
      const found = isSame ? undefined : tryTo(read, env, mistake)
      const wrong = found?.mistake
      if (wrong !== undefined && this.#mistakes.get(name) !== wrong) onMistake(name, wrong)
      if (isSame && this.#mistakes.has(name)) onMended(name)
      if (wrong === undefined) this.#mistakes.delete(name)
      else this.#mistakes.set(name, wrong)
      if (!found || !('read' in found)) continue
      fresh = found.read
      this.#inForce = env
      changed.push(name)
    }
    if (fresh !== undefined) onChange(fresh, changed)
  }

  #with(name: string, value: string | undefined): Environment {
    return { ...this.#inForce, [name]: value, [`${name}_FILE`]: undefined }
  }
}

/** A value that could be read may still be one that nothing can be made of. */
function tryTo<T>(
  read: (env: Environment) => T,
  env: Environment,
  mistake: string | undefined,
): { read: T; mistake?: undefined } | { mistake: string } {
  if (mistake !== undefined) return { mistake }
  try {
    return { read: read(env) }
  } catch (error) {
    if (error instanceof SettingsError) return { mistake: error.message }
    throw error
  }
}
