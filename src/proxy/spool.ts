import { randomUUID } from 'node:crypto'
import { open, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const CHUNK_BYTES = 256 * 1024

/** Bytes of one upload that must be read past before its model is known: on disk, nameless, gone with the process. */
export interface Spool {
  write(chunk: Buffer): Promise<void>
  readonly bytes: number
  /** From `start` to `end`, in chunks. */
  read(start: number, end: number): AsyncGenerator<Buffer>
  close(): Promise<void>
}

/** Opens a temporary file (mode 0600, unlinked at once). Throws what the file system throws. */
export const openSpool = async (): Promise<Spool> => {
  const path = join(tmpdir(), `gateway-upload-${randomUUID()}`)
  const file = await open(path, 'wx+', 0o600)
  await unlink(path)
  let bytes = 0
  return {
    get bytes() {
      return bytes
    },
    async write(chunk) {
      await file.write(chunk, 0, chunk.length, bytes)
      bytes += chunk.length
    },
    async *read(start, end) {
      for (let at = start; at < end; ) {
        const { bytesRead, buffer } = await file.read(
          Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - at)),
          0,
          null,
          at,
        )
        if (bytesRead === 0) throw new Error('The spooled upload ended early')
        yield buffer.subarray(0, Math.min(bytesRead, end - at))
        at += bytesRead
      }
    },
    close: () => file.close(),
  }
}
