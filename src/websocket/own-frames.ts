interface OwnFrame {
  bytes: Buffer
  /** It is called when the frame is written. */
  done(): void
}

/** Frames of the gateway's own that wait for their place between those that pass. */
export class OwnFrames {
  #next: OwnFrame[] = []
  #last: (OwnFrame & { isMessage: boolean }) | undefined

  get isEmpty(): boolean {
    return this.#next.length === 0 && !this.#last
  }

  add(bytes: Buffer): void {
    this.#next.push({ bytes, done: () => {} })
  }

  /** `isMessage`: it holds a message, so it cannot stand between the fragments of another. */
  addLast(bytes: Buffer, isMessage: boolean, done: () => void): void {
    this.#last ??= { bytes, isMessage, done }
  }

  /** Writes what may stand between two frames; true when that was the last. */
  write(isInMessage: boolean, write: (bytes: Buffer) => void): boolean {
    for (const { bytes } of this.#next.splice(0)) write(bytes)
    if (!this.#last || (this.#last.isMessage && isInMessage)) return false
    write(this.#last.bytes)
    this.#last.done()
    return true
  }
}
