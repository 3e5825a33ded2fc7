import { rateLimited } from '../errors.ts'
import type { Token } from '../stores/token-store.ts'

/** How often rights and silence are looked at: a revoked token's sockets are closed within a second. */
const TICK_MS = 400

/** A socket that is open or about to be. */
export interface OpenSocket {
  /** The client is told so in a close frame. */
  close(code: number, reason: string): void
  tick(ms: number): void
}

/** Who holds sockets: a token, or for routes without one an address. */
export interface Holder {
  key: string
  token: Token | undefined
}

/** All sockets of one app, by who holds them. */
export interface OpenSockets {
  /** Takes a place, or refuses; the caller must give it back by calling what is returned. */
  enter(holder: Holder, socket: OpenSocket): () => void
  close(): void
}

export interface OpenSocketsOptions {
  perHolder: number
  /** Whether the token would still be let in. */
  isUsable(token: Token): Promise<boolean>
}

interface Group {
  holder: Holder
  sockets: Set<OpenSocket>
  isAsking: boolean
}

export const createOpenSockets = ({ perHolder, isUsable }: OpenSocketsOptions): OpenSockets => {
  const groups = new Map<string, Group>()
  let timer: NodeJS.Timeout | undefined

  const checkToken = async (group: Group, token: Token): Promise<void> => {
    if (group.isAsking) return
    group.isAsking = true
    // A store that cannot be asked says nothing against the token.
    const mayStay = await isUsable(token).catch(() => true)
    group.isAsking = false
    if (mayStay) return
    for (const socket of [...group.sockets]) socket.close(1008, 'the token is no longer valid')
  }
  const tick = (): void => {
    for (const group of groups.values()) {
      if (group.holder.token) void checkToken(group, group.holder.token)
      for (const socket of [...group.sockets]) socket.tick(TICK_MS)
    }
  }
  const groupOf = (holder: Holder): Group => {
    const known = groups.get(holder.key)
    if (known) return known
    const fresh = { holder, sockets: new Set<OpenSocket>(), isAsking: false }
    groups.set(holder.key, fresh)
    timer ??= setInterval(tick, TICK_MS).unref()
    return fresh
  }
  const close = (): void => {
    clearInterval(timer)
    timer = undefined
  }

  return {
    enter(holder, socket) {
      const group = groupOf(holder)
      if (group.sockets.size >= perHolder) {
        throw rateLimited(`At most ${perHolder} WebSockets may be open at once. Close one and try again.`)
      }
      group.sockets.add(socket)
      return () => {
        group.sockets.delete(socket)
        if (group.sockets.size > 0 || groups.get(holder.key) !== group) return
        groups.delete(holder.key)
        if (groups.size === 0) close()
      }
    },
    close,
  }
}
