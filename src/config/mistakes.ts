import { codeOf } from '../errors.ts'

/** Everything the operator got wrong, at once: one line each, with the variable and a way out. */
export class SettingsError extends Error {
  readonly mistakes: readonly string[]

  constructor(mistakes: readonly string[]) {
    super(mistakes.join('\n'))
    this.name = 'SettingsError'
    this.mistakes = mistakes
  }
}

/** The system's short name for what failed, such as `ENOENT`: it repeats no path and no content. */
export function readCode(error: unknown): string {
  return String(codeOf(error) ?? 'unreadable')
}
