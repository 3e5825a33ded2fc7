import fs from 'node:fs'
import { join } from 'node:path'
import DailyRotateFile from 'winston-daily-rotate-file'
import Transport from 'winston-transport'
import { codeOf } from '../../errors.ts'
import { sweepFiles, writeAudit } from './rotation-file.ts'

export interface DailyFilesOptions {
  dir: string
  now: () => number
  /** It is called when the files cease to be written, with the failure's code, and without one when they are back. */
  onChange(code?: string): void
}

/** One open file and what it has not taken yet. */
interface OpenFile {
  rotate: DailyRotateFile
  day: string
  path: string
  waitingBytes: number
}

/** A file plus the largest batch stays under 20 MiB. */
const FILE_SIZE = '20400k'
const LOOK_EVERY_MS = 1000
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 5000
const CLOSING_MS = 3000

/** It is due also when it lies further ahead than it ever was put: the clock was set back. */
function isDue(after: number, now: number, mostMs: number): boolean {
  return now >= after || after - now > mostMs
}

function readDay(at: number): string {
  return new Date(at).toISOString().slice(0, 10)
}

/** Node's own calls, with an account of what reached the disk: the rotation package tells nobody. */
function buildCountingFs(file: { waitingBytes: number }, onDry: () => void) {
  return {
    open: fs.open,
    close: fs.close,
    write(
      fd: number,
      bytes: Buffer,
      offset: number,
      length: number,
      position: number | null,
      done: (failure: Error | null, written: number, bytes: Buffer) => void,
    ) {
      fs.write(fd, bytes, offset, length, position, (failure, written) => {
        file.waitingBytes -= failure ? 0 : written
        done(failure, written, bytes)
        if (file.waitingBytes <= 0) onDry()
      })
    },
  }
}

/** `server.YYYY-MM-DD.N.log`, days in UTC. A failure never leaves this transport: it tries again, at growing intervals. */
export class DailyFiles extends Transport {
  readonly #options: DailyFilesOptions
  #file: OpenFile | undefined
  #closing: Promise<void> = Promise.resolve()
  #sleepers: (() => void)[] = []
  #pauseMs = 0
  #openAfter = 0
  #lookAfter = 0

  constructor(options: DailyFilesOptions) {
    super()
    this.#options = options
  }

  get waitingBytes(): number {
    return this.#file?.waitingBytes ?? 0
  }

  /** Resolves when the open file has taken everything, or has failed. */
  async drained(): Promise<void> {
    if (this.waitingBytes > 0) await new Promise<void>((resolve) => this.#sleepers.push(resolve))
    await this.#closing
  }

  override log(record: Record<symbol, string>, done: () => void): void {
    try {
      const file = this.#current(this.#options.now())
      if (file) {
        const text = record[Symbol.for('message')] ?? ''
        file.waitingBytes += Buffer.byteLength(text) + 1
        file.rotate.logStream.write(`${text}\n`)
      }
    } catch (failure) {
      this.#fail(this.#file, failure)
    }
    done()
  }

  override _final(done: () => void): void {
    this.#release()
    void this.#closing.then(done)
  }

  #wake(): void {
    for (const resolve of this.#sleepers.splice(0)) resolve()
  }

  /** The file to write to at `now`, opened anew on another day and when somebody took it away. */
  #current(now: number): OpenFile | undefined {
    const day = readDay(now)
    if (this.#file && this.#file.day !== day) this.#release()
    if (this.#file && isDue(this.#lookAfter, now, LOOK_EVERY_MS)) {
      this.#lookAfter = now + LOOK_EVERY_MS
      if (!fs.existsSync(this.#file.path)) this.#release()
    }
    if (!this.#file && isDue(this.#openAfter, now, LONGEST_PAUSE_MS)) this.#file = this.#open(day)
    return this.#file
  }

  #open(day: string): OpenFile {
    const { dir } = this.#options
    fs.mkdirSync(dir, { recursive: true, mode: 0o700 })
    sweepFiles(dir, day)
    const account = { waitingBytes: 0 }
    const rotate = new DailyRotateFile({
      dirname: dir,
      filename: 'server.%DATE%',
      // A literal in the package's pattern language: the day changes where we say so, never inside it.
      datePattern: `[${day}]`,
      extension: '.log',
      maxSize: FILE_SIZE,
      maxFiles: '7d',
      auditFile: writeAudit(dir, day),
      options: { flags: 'a', mode: 0o640, fs: buildCountingFs(account, () => this.#wake()) },
    })
    const file = Object.assign(account, { rotate, day, path: join(dir, `server.${day}.1.log`) })
    rotate.on('new', (path: string) => {
      file.path = path
    })
    rotate.on('error', (failure) => this.#fail(file, failure))
    rotate.logStream.on('error', (failure) => this.#fail(file, failure))
    rotate.logStream.on('open', () => this.#succeed())
    this.#lookAfter = this.#options.now() + LOOK_EVERY_MS
    return file
  }

  #succeed(): void {
    if (this.#pauseMs > 0) this.#options.onChange()
    this.#pauseMs = 0
  }

  #fail(file: OpenFile | undefined, failure: unknown): void {
    if (file !== this.#file) return
    const wasWell = this.#pauseMs === 0
    this.#pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, this.#pauseMs * 2))
    this.#openAfter = this.#options.now() + this.#pauseMs
    // A broken stream never reports its end: nothing to wait for.
    this.#drop()?.rotate.logStream.end()
    const code = String(codeOf(failure) ?? 'unknown')
    if (wasWell) this.#options.onChange(code)
  }

  /** Lets go of the open file; what was written to it is waited for by `drained` and at the end. */
  #release(): void {
    const file = this.#drop()
    if (!file) return
    const ended = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, CLOSING_MS)
      const settle = () => {
        clearTimeout(timer)
        resolve()
      }
      file.rotate.logStream.once('finish', settle).once('error', settle)
    })
    file.rotate.logStream.end()
    this.#closing = Promise.all([this.#closing, ended]).then(() => undefined)
  }

  #drop(): OpenFile | undefined {
    const file = this.#file
    this.#file = undefined
    this.#wake()
    return file
  }
}
