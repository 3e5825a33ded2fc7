import { rateLimited } from '../errors.ts'

/** How often rights and silence are looked at: a revoked token's sockets are closed within a second. */
const TICK_MS = 400

/** A socket that is open or about to be. */
export interface OpenSocket {
  /** Its token is no longer valid: told in a close frame, or while the socket is not open yet as a refusal. */
  close(code: number, reason: string): void
  tick(ms: number): void
}

/** Who holds sockets: a token, or for routes without one an address. */
export interface Holder {
  key: string
  /** The hash of the secret that opened the socket; undefined where none was asked for. */
  secretHash: string | undefined
}

export interface OpenSocketsOptions {
  perHolder: number
  /** Whether the secret would still be let in. */
  isUsable(secretHash: string): Promise<boolean>
}

interface Group {
  /** The sockets with the hash of the secret that opened each. */
  sockets: Map<OpenSocket, string | undefined>
  asking: Set<string>
}

/** All sockets of one app, by who holds them. */
export class OpenSockets {
  readonly #options: OpenSocketsOptions
  readonly #groups = new Map<string, Group>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: OpenSocketsOptions) {
    this.#options = options
  }

  /** Lets the socket in, or refuses; the caller must let it out again by calling what is returned. */
  enter({ key, secretHash }: Holder, socket: OpenSocket): () => void {
    const { perHolder } = this.#options
    const group = this.#groupOf(key)
    if (group.sockets.size >= perHolder) {
      throw rateLimited(`At most ${perHolder} WebSockets may be open at once. Close one and try again.`)
    }
    group.sockets.set(socket, secretHash)
    return () => {
      group.sockets.delete(socket)
      if (group.sockets.size > 0 || this.#groups.get(key) !== group) return
      this.#groups.delete(key)
      if (this.#groups.size === 0) this.close()
    }
  }

  close(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #groupOf(key: string): Group {
    const known = this.#groups.get(key)
    if (known) return known
    const fresh = { sockets: new Map<OpenSocket, string | undefined>(), asking: new Set<string>() }
    this.#groups.set(key, fresh)
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS).unref()
    return fresh
  }

  #tick(): void {
    for (const group of this.#groups.values()) {
      for (const hash of new Set(group.sockets.values()))
        if (hash !== undefined) void this.#checkSecret(group, hash)
      for (const socket of [...group.sockets.keys()]) socket.tick(TICK_MS)
    }
  }

  async #checkSecret({ sockets, asking }: Group, secretHash: string): Promise<void> {
    if (asking.has(secretHash)) return
    asking.add(secretHash)
    // A store that cannot be asked says nothing against the token.
    const mayStay = await this.#options.isUsable(secretHash).catch(() => true)
    asking.delete(secretHash)
    if (mayStay) return
    for (const [socket, hash] of [...sockets]) {
      if (hash === secretHash) socket.close(1008, 'the token is no longer valid')
    }
  }
}
