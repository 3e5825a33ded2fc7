import type { AnswerContext } from './answer.ts'

/** Back-pressure from a slow reader to its provider. */
export interface Pressure {
  /** The client's buffer is full: the provider waits until it has drained; a reader that stalls for good is cut. */
  hold(): void
  end(): void
}

export const createPressure = ({ downstream, attempt, tools }: AnswerContext): Pressure => {
  let stall: NodeJS.Timeout | undefined
  const end = (): void => {
    clearTimeout(stall)
    stall = undefined
  }
  return {
    hold() {
      if (stall) return
      attempt()?.pause()
      stall = setTimeout(() => downstream.response.destroy(), tools.timeouts.idleTimeoutMs)
      downstream.response.once('drain', () => {
        end()
        attempt()?.resume()
      })
    },
    end,
  }
}
