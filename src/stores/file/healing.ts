const RETRY_AFTER_MS = 1000

/** A file that may hold what was refused: it is to be written again until that succeeds. */
export interface Healing {
  /** A write has failed halfway; also when a further one has. */
  begin(): void
  /** A write has succeeded. */
  end(): void
  isDue(): boolean
  isRunning(): boolean
  ended(): Promise<void>
}

/** `onDue` is called whenever it is time to try. */
export function createHealing(onDue: () => void): Healing {
  let running: PromiseWithResolvers<void> | undefined
  let timer: NodeJS.Timeout | undefined
  let isDue = false
  return {
    begin: () => {
      running ??= Promise.withResolvers<void>()
      isDue = false
      clearTimeout(timer)
      timer = setTimeout(() => {
        isDue = true
        onDue()
      }, RETRY_AFTER_MS).unref()
    },
    end: () => {
      clearTimeout(timer)
      isDue = false
      running?.resolve()
      running = undefined
    },
    isDue: () => isDue,
    isRunning: () => running !== undefined,
    ended: async () => running?.promise,
  }
}
