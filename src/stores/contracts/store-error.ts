/** `locked`: another process has it; `damaged`: not what was written; `unusable`: the folder or the disk refuses; `unreachable`: no answer. */
export type StoreErrorReason = 'locked' | 'damaged' | 'unusable' | 'unreachable'

/** Why the stores cannot be opened, with the file's name and the way out: the process ends with exit code 78. */
export class StoreError extends Error {
  readonly reason: StoreErrorReason

  constructor(reason: StoreErrorReason, text: string, options?: ErrorOptions) {
    super(text, options)
    this.name = 'StoreError'
    this.reason = reason
  }
}

/** Tells the operator what went wrong where no request waits for it; no field holds a secret. */
export type Warn = (fields: object, text: string) => void
