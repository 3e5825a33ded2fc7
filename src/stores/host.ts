import { createServer, type Socket } from 'node:net'
import { listenOnSocket, openSocketPath } from '../socket-path.ts'
import type { GuestCalls, Seats } from './contracts/guests.ts'
import type { Warn } from './contracts/store-error.ts'
import {
  answerLine,
  GUESTS_SOCKET,
  LATER_CALLS,
  onLines,
  WIRE_VERSION,
  writeError,
  writeLine,
} from './wire.ts'

export interface HostOptions {
  /** The folder, whose lock this process holds. */
  dbDir: string
  seats: Seats
  warn: Warn
}

/** The door through which guests work on the files of this process. */
export interface Host {
  /** How many work here now. */
  guests(): number
  /** Nobody is served any more, nor told anything: whatever is not answered is asked again of the next server. */
  stop(): void
  /** The folder is free: the guests may have it. */
  dismiss(): void
}

const NO_HOST: Host = { guests: () => 0, stop: () => undefined, dismiss: () => undefined }

export async function openHost({ dbDir, seats, warn }: HostOptions): Promise<Host> {
  const socketPath = openSocketPath(dbDir, GUESTS_SOCKET)
  const sessions = new Set<Session>()
  const server = createServer((socket) => {
    const session = new Session(socket, seats)
    sessions.add(session)
    socket.once('close', () => sessions.delete(session))
  })
  try {
    if (socketPath === undefined) throw new Error('DB_DIR is too long a path for a socket')
    await listenOnSocket(server, socketPath.path)
  } catch (error) {
    socketPath?.release()
    // A folder on a network disk may not carry sockets; requests do not need this one.
    warn({ err: error, dbDir }, 'no socket for a successor: an update has to stop this server first')
    return NO_HOST
  }
  server.on('error', (error) => warn({ err: error }, 'the socket for a successor failed'))
  return {
    guests: () => [...sessions].filter(({ isGuest }) => isGuest).length,
    stop: () => {
      for (const session of sessions) session.mute()
      // Before the lock is free: the next server makes a socket of the same name.
      server.close()
      socketPath.release()
    },
    dismiss: () => {
      for (const session of sessions) session.end()
    },
  }
}

/** One connection. */
class Session {
  readonly #socket: Socket
  readonly #seats: Seats
  #guest: string | undefined
  #calls: GuestCalls | undefined
  #isMuted = false

  constructor(socket: Socket, seats: Seats) {
    this.#socket = socket
    this.#seats = seats
    socket.on('error', () => undefined)
    socket.once('close', () => {
      if (this.#guest !== undefined && !this.#isMuted) seats.leave(this.#guest)
    })
    onLines(socket, (line) => this.#take(line))
  }

  get isGuest(): boolean {
    return this.#calls !== undefined
  }

  mute(): void {
    this.#isMuted = true
  }

  end(): void {
    this.#socket.destroy()
  }

  #take([id, method, args]: unknown[]): void {
    if (this.#isMuted) return
    if (this.#calls === undefined) return this.#welcome(id, method)
    const call: unknown = Reflect.get(this.#calls, String(method))
    if (typeof call !== 'function' || !Array.isArray(args)) throw new Error(`nobody can ask for ${method}`)
    // JSON has no undefined, and no argument of ours is null.
    const given = args.map((value: unknown) => value ?? undefined)
    const answered: Promise<unknown> = Reflect.apply(call, this.#calls, given)
    answered.then(
      (result) => this.#answer([id, result]),
      (error) => this.#answer([id, null, writeError(error)]),
    )
  }

  #welcome(version: unknown, guest: unknown): void {
    if (version !== WIRE_VERSION || typeof guest !== 'string') {
      this.#socket.end(writeLine(['refused', `this server speaks version ${WIRE_VERSION}, not ${version}`]))
      return
    }
    this.#guest = guest
    this.#calls = this.#seats.sit(guest)
    this.#answer(['welcome', WIRE_VERSION, LATER_CALLS])
  }

  #answer(line: readonly unknown[]): void {
    if (!this.#isMuted) answerLine(this.#socket, line)
  }
}
