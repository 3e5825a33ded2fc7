import { format as formatText } from 'node:util'
import type { FastifyBaseLogger } from 'fastify'
import winston from 'winston'
import Transport from 'winston-transport'
import { buildLineWriter, buildRedactor, type Fields } from './lines.ts'
import { DailyFiles } from './rotation.ts'

export interface LogOptions {
  dir: string
  /** `fatal`, `error`, `warn`, `info`, `debug`, `trace` or `silent`. */
  level: string
  /** Where the same lines go besides the files; `false`: nowhere. */
  stdout?: boolean | NodeJS.WritableStream
  /** Exact secrets that no line may hold, such as the providers' keys. */
  secrets?: readonly string[]
  now?: () => number
}

export interface Log {
  logger: FastifyBaseLogger
  /** Keeps these exact secrets, too, out of every line from here on. */
  hide(secrets: readonly string[]): void
  /** Resolves when every line so far is written, or cannot be. */
  flush(): Promise<void>
  close(): Promise<void>
}

const LEVEL = Symbol.for('level')
const MESSAGE = Symbol.for('message')

function ignore(): void {
  return undefined
}

/** The same lines on stdout. A pipe that is closed, or whose reader sleeps, ends them there, and nothing else. */
class Stdout extends Transport {
  readonly #stream: NodeJS.WritableStream
  readonly #onFull: () => void
  #isFull = false

  constructor(stream: NodeJS.WritableStream, onFull: () => void) {
    super()
    this.#stream = stream.on('error', ignore)
    this.#onFull = onFull
  }

  override log(record: Record<symbol, string>, done: () => void): void {
    const wasFull = this.#isFull
    this.#isFull = Number(Reflect.get(this.#stream, 'writableLength') ?? 0) > MOST_WAITING_BYTES
    if (!this.#isFull) this.#stream.write(`${record[MESSAGE]}\n`)
    else if (!wasFull) this.#onFull()
    done()
  }
}

function readStdout(choice: LogOptions['stdout']): NodeJS.WritableStream | undefined {
  if (choice === false) return undefined
  return choice === undefined || choice === true ? process.stdout : choice
}

function openWinston(transports: winston.transport[]): winston.Logger {
  const logger = winston.createLogger({
    // Lines come finished, many at a time: winston hands them to the transports as they are.
    format: winston.format((record) => record)(),
    levels: { info: 0 },
    level: 'info',
    transports,
  })
  logger.on('error', ignore)
  return logger
}

/**
 * Opens the log, which never throws and never stops the process, whatever happens to the directory. Whoever opened it
 * closes it.
 */
export function openLog({ dir, level, stdout, secrets = [], now = Date.now }: LogOptions): Log {
  const hidden = new Set(secrets)
  let clean = buildRedactor([...hidden])
  const redact = (text: string): string => clean(text)
  const write = buildLineWriter({ redact })
  const files = new DailyFiles({
    dir,
    now,
    onChange: (code) =>
      batch.add(
        code === undefined
          ? write('info', 'log files are written again', [])
          : write('warn', 'log files cannot be written, the log goes to stdout alone', [{ code }]),
      ),
  })
  const stream = readStdout(stdout)
  const tellFull = () => batch.add(write('warn', 'stdout is not read, its lines are lost', []))
  const sink = openWinston(stream ? [new Stdout(stream, tellFull), files] : [files])
  let isClosed = false
  const batch = openBatch({
    write(text) {
      if (!isClosed) sink.write({ level: 'info', message: '', [LEVEL]: 'info', [MESSAGE]: redact(text) })
    },
    waiting: () => files.waitingBytes,
    reportLost: (count) => write('warn', 'log lines were lost, the disk was too slow', [{ count }]),
  })
  return {
    logger: new RecordLogger({ write, batch }, level),
    hide(more) {
      for (const secret of more) hidden.add(secret)
      clean = buildRedactor([...hidden])
    },
    async flush() {
      batch.flush()
      await files.drained()
    },
    async close() {
      if (isClosed) return
      batch.flush()
      isClosed = true
      const finished = new Promise((resolve) => files.once('finish', resolve))
      sink.end()
      await finished
      stream?.off('error', ignore)
    },
  }
}

const NAMES = ['fatal', 'error', 'warn', 'info', 'debug', 'trace']
const USUAL_RANK = NAMES.indexOf('info')
const RANKS: Readonly<Record<string, number>> = {
  silent: -1,
  ...Object.fromEntries(NAMES.map((name, rank) => [name, rank])),
}

interface Writer {
  write: ReturnType<typeof buildLineWriter>
  batch: Batch
}

/** Fastify's logger calls; only what belongs to one child is kept per child, since every request makes one. */
class RecordLogger implements FastifyBaseLogger {
  readonly #writer: Writer
  readonly #bindings: readonly Fields[]
  #rank: number

  /** `level`: its name, or the rank of a parent. */
  constructor(writer: Writer, level: string | number, bindings: readonly Fields[] = []) {
    this.#writer = writer
    this.#bindings = bindings
    this.#rank = typeof level === 'number' ? level : (RANKS[level] ?? USUAL_RANK)
  }

  get level(): string {
    return NAMES[this.#rank] ?? 'silent'
  }

  set level(name: string) {
    this.#rank = RANKS[name] ?? this.#rank
  }

  fatal(...words: unknown[]): void {
    this.#add('fatal', words)
  }

  error(...words: unknown[]): void {
    this.#add('error', words)
  }

  warn(...words: unknown[]): void {
    this.#add('warn', words)
  }

  info(...words: unknown[]): void {
    this.#add('info', words)
  }

  debug(...words: unknown[]): void {
    this.#add('debug', words)
  }

  trace(...words: unknown[]): void {
    this.#add('trace', words)
  }

  silent(): void {}

  /** Foreign serializers are ignored: ours show less. */
  child(bindings: Fields, options?: { level?: string }): FastifyBaseLogger {
    const all = this.#bindings.length === 0 ? [bindings] : [...this.#bindings, bindings]
    return new RecordLogger(this.#writer, options?.level ?? this.#rank, all)
  }

  #add(level: string, words: readonly unknown[]): void {
    const rank = RANKS[level] ?? 0
    if (rank > this.#rank) return
    const [first, second] = [words[0], words[1]]
    // Nearly every caller gives fields, then a sentence.
    const isUsual = words.length === 2 && typeof first === 'object' && typeof second === 'string'
    const said = isUsual ? second : formatWords(words)
    const fields = readFields(first)
    const all = this.#bindings.length === 0 ? [fields] : [...this.#bindings, fields]
    this.#writer.batch.add(this.#writer.write(level, said, all))
    if (rank <= 1) this.#writer.batch.flush()
  }
}

function formatWords(words: readonly unknown[]): string {
  const text = typeof words[0] === 'string' ? words : words.slice(1)
  return text.length < 2 ? String(text[0] ?? '') : formatText(...text)
}

function readFields(first: unknown): Fields {
  if (typeof first !== 'object' || first === null) return {}
  return first instanceof Error ? { err: first } : (first as Fields)
}

interface BatchOptions {
  /** Takes many lines as one text, without the last line's end. */
  write(text: string): void
  /** Bytes written but not yet taken by the disk. */
  waiting(): number
  /** How the report of lost lines reads. */
  reportLost(count: number): string
}

interface Batch {
  add(line: string): void
  flush(): void
}

const EVERY_MS = 100
const FULL_CHARACTERS = 64 * 1024
const MOST_WAITING_BYTES = 16 * 1024 * 1024

/** Gathers lines, since one write of a hundred lines costs little more than one of a single line. */
export function openBatch({ write, waiting, reportLost }: BatchOptions): Batch {
  let lines: string[] = []
  let characters = 0
  let lost = 0
  let timer: NodeJS.Timeout | undefined
  const flush = (): void => {
    clearTimeout(timer)
    timer = undefined
    if (lost > 0 && waiting() < MOST_WAITING_BYTES) {
      lines.push(reportLost(lost))
      lost = 0
    }
    if (lines.length === 0) return
    const text = lines.join('\n')
    lines = []
    characters = 0
    write(text)
  }
  return {
    add(line) {
      if (waiting() > MOST_WAITING_BYTES) {
        lost++
        timer ??= setTimeout(flush, EVERY_MS)
        return
      }
      lines.push(line)
      characters += line.length
      if (characters >= FULL_CHARACTERS) flush()
      else timer ??= setTimeout(flush, EVERY_MS)
    },
    flush,
  }
}
