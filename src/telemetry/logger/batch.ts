export interface BatchOptions {
  /** Takes many lines as one text, without the last line's end. */
  write(text: string): void
  /** Bytes written but not yet taken by the disk. */
  waiting(): number
  /** How the report of lost lines reads. */
  reportLost(count: number): string
}

export interface Batch {
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
