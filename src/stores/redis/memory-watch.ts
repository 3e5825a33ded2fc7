import type { Warn } from '../contracts/store-error.ts'
import type { Context } from './context.ts'

const LOOK_EVERY_MS = 1_000
/** Nothing is kept that could be left out from this share of the limit on. */
const HIGH = 0.85

/** The memory of the server that holds the store. */
export interface RedisMemory {
  usedBytes: number
  /** Undefined: it has none. */
  limitBytes: number | undefined
  /** `high`: answers under idempotency keys are no longer kept; `full`: no new keys either. Bills go on. */
  state: 'ok' | 'high' | 'full'
}

export interface MemoryWatch {
  now(): RedisMemory
  close(): void
}

interface Options {
  context: Pick<Context, 'link' | 'scripts' | 'keys'>
  /** What the operator allows; the server's own `maxmemory` when it is lower or nothing else is known. */
  limitBytes: number | undefined
  /** Memory is short for the first time. */
  onShort(): Promise<unknown>
  warn: Warn
}

/** Looks at the memory of Redis every second, so that it is never filled by what could be left out. */
export function openMemoryWatch({ context, limitBytes, onShort, warn }: Options): MemoryWatch {
  const { link, scripts, keys } = context
  let memory: RedisMemory = { usedBytes: 0, limitBytes, state: 'ok' }
  let [isLooking, wasShort] = [false, false]
  const look = async (): Promise<void> => {
    const seen = readMemory(String(await link.run(scripts.memory, [keys.meta], [])), limitBytes)
    if (seen.state !== memory.state) warn({ ...seen }, WORDS[seen.state])
    memory = seen
    if (seen.state === 'ok' || wasShort) return
    wasShort = true
    await onShort()
  }
  const lookOnce = (): void => {
    if (isLooking || !link.isReady()) return
    isLooking = true
    look()
      // Away, or no right to ask: what was seen last stands.
      .catch(() => undefined)
      .finally(() => {
        isLooking = false
      })
  }
  lookOnce()
  const timer = setInterval(lookOnce, LOOK_EVERY_MS).unref()
  return { now: () => memory, close: () => clearInterval(timer) }
}

const WORDS: Readonly<Record<RedisMemory['state'], string>> = {
  ok: 'Redis has memory again: answers under idempotency keys are kept',
  high: 'Redis is nearly full: answers under idempotency keys are not kept any more, and a token may have few keys',
  full: 'Redis is full: requests with a new idempotency key are refused, bills go on; give it more memory',
}

function readMemory(text: string, allowedBytes: number | undefined): RedisMemory {
  const usedBytes = readField(text, 'used_memory')
  const ownBytes = readField(text, 'maxmemory') || Number.POSITIVE_INFINITY
  const least = Math.min(ownBytes, allowedBytes ?? Number.POSITIVE_INFINITY)
  const share = usedBytes / least
  const state = share >= 1 ? 'full' : share >= HIGH ? 'high' : 'ok'
  return { usedBytes, limitBytes: Number.isFinite(least) ? least : undefined, state }
}

function readField(text: string, name: string): number {
  return Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(text)?.[1] ?? 0)
}
