import type { FastifyBaseLogger } from 'fastify'
import winston from 'winston'
import { openBatch } from './batch.ts'
import { buildLineWriter } from './lines.ts'
import { RecordLogger } from './record-logger.ts'
import { buildRedactor } from './redact.ts'
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

/** The same lines on stdout; a closed pipe ends them, not the process. */
function openStdout(stream: NodeJS.WritableStream): winston.transport {
  stream.on('error', ignore)
  return new winston.transports.Stream({ stream, eol: '\n' })
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
  const sink = openWinston(stream ? [openStdout(stream), files] : [files])
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
