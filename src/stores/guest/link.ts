import { connect, type Socket } from 'node:net'
import { openSocketPath } from '../../socket-path.ts'
import { StoreError } from '../contracts/store-error.ts'
import { GUESTS_SOCKET, LATER_CALLS, onLines, WIRE_VERSION, writeLine } from '../wire.ts'

/** A connection to the server that has the folder. */
export interface Link {
  send(line: readonly unknown[]): void
  /** Whether that server, perhaps of an earlier release, can be asked for this. */
  knows(method: string): boolean
  /** What waits to be taken. */
  unsentBytes(): number
  end(): void
}

export interface LinkOptions {
  dbDir: string
  guest: string
  onLine(line: unknown[]): void
  /** That server has ended; not called by `end`. */
  onLost(): void
}

/** A server that lives says welcome at once; one that hangs has its socket, and answers nobody. */
const WELCOME_MS = 5_000

/** Throws when nobody listens, and a `StoreError` when who does speaks another version or does not answer. */
export async function openLink({ dbDir, guest, onLine, onLost }: LinkOptions): Promise<Link> {
  const socketPath = openSocketPath(dbDir, GUESTS_SOCKET)
  if (socketPath === undefined) throw new Error('DB_DIR is too long a path for a socket')
  const socket = connect(socketPath.path)
  let offered: readonly unknown[] = []
  try {
    offered = await greet(socket, { guest, onLine })
  } catch (error) {
    socket.destroy()
    throw error
  } finally {
    socketPath.release()
  }
  let isEnded = false
  socket.once('close', () => {
    if (!isEnded) onLost()
  })
  return {
    send: (line) => {
      if (!socket.destroyed) socket.write(writeLine(line))
    },
    knows: (method) => !LATER_CALLS.includes(method) || offered.includes(method),
    unsentBytes: () => socket.writableLength,
    end: () => {
      isEnded = true
      socket.destroy()
    },
  }
}

/** What that server can be asked for besides what its version says. */
function greet(
  socket: Socket,
  { guest, onLine }: Pick<LinkOptions, 'guest' | 'onLine'>,
): Promise<readonly unknown[]> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      const reason =
        'the server that has DB_DIR does not answer: it hangs, or waits for its disk; end it first'
      reject(new StoreError('locked', reason))
    }, WELCOME_MS)
    let take = ([word, text, offered]: unknown[]): void => {
      clearTimeout(timer)
      if (word === 'welcome') {
        take = onLine
        return resolve(Array.isArray(offered) ? offered : [])
      }
      const reason = `the server that has DB_DIR hands nothing over: ${text}; stop it first`
      reject(new StoreError('locked', reason))
    }
    socket.on('error', reject)
    socket.once('close', () => {
      clearTimeout(timer)
      reject(new Error('that server has ended'))
    })
    onLines(socket, (line) => take(line))
    socket.write(writeLine([WIRE_VERSION, guest]))
  })
}
