/** Tells the operator what went wrong where no request waits for it; no field holds a secret. */
export type Warn = (fields: object, text: string) => void
