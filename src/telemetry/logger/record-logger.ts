import { format as formatText } from 'node:util'
import type { FastifyBaseLogger } from 'fastify'
import type { Batch } from './batch.ts'
import type { buildLineWriter, Fields } from './lines.ts'

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
export class RecordLogger implements FastifyBaseLogger {
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
