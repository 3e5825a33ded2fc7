import { randomUUID } from 'node:crypto'
import { statfsSync } from 'node:fs'
import { type FileHandle, lstat, open, readdir, statfs, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { codeOf, spoolFull } from '../errors.ts'
import { type Lease, SharedBytes } from './shared-bytes.ts'

const CHUNK_BYTES = 256 * 1024
const NAME = /^gateway-upload-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
/** The share of what is free at the start, unless the operator says otherwise; the next line bounds it. */
const SHARE_OF_DISK = 1 / 2
const MOST_BYTES = 16 * 1024 ** 3
/** A temporary folder in memory is no disk: what lies there is memory that cannot be given back. */
const SHARE_OF_MEMORY_DISK = 1 / 8
const TMPFS = 0x01021994
/** This share of what is free at that moment is left to the others on the disk. */
const SPARED_SHARE = 1 / 10

/** Bytes of one upload that must be read past before its model is known: on disk, nameless, gone with the process. */
export interface Spool {
  /** Throws `spool_full`, as `openSpool` and `read` do. */
  write(chunk: Buffer): Promise<void>
  readonly bytes: number
  /** Reads from `start` to `end`, in chunks. */
  read(start: number, end: number): AsyncGenerator<Buffer>
  close(): Promise<void>
}

/** The part of the disk that uploads may take, and how much of it is taken. */
export interface SpoolRoom {
  readonly usedBytes: number
  /** The place of one upload of this holder; nothing is written yet. */
  open(holder: string): SpoolPlace
}

export interface SpoolPlace {
  /** Opens its file (mode 0600, unlinked at once) if so many bytes may still come: undefined when nobody knows. */
  create(announced: number | undefined): Promise<Spool>
}

/** `mostBytes`: the operator's limit; undefined: of what is free now. */
export function openSpoolRoom(mostBytes: number | undefined): SpoolRoom {
  const shared = new SharedBytes(mostBytes ?? usualBytes())
  void sweep()
  return {
    get usedBytes() {
      return shared.usedBytes
    },
    open: (holder) => ({
      create: async (announced = 0) => {
        const lease = shared.open(holder)
        try {
          if (!lease.begin(announced) || !(await hasDiskFor(announced))) throw noRoom()
          return new SpoolFile(await openNameless(), lease)
        } catch (error) {
          lease.release()
          throw toSpoolFull(error)
        }
      },
    }),
  }
}

class SpoolFile implements Spool {
  readonly #file: FileHandle
  readonly #lease: Lease
  #bytes = 0

  constructor(file: FileHandle, lease: Lease) {
    this.#file = file
    this.#lease = lease
  }

  get bytes(): number {
    return this.#bytes
  }

  async write(chunk: Buffer): Promise<void> {
    if (!this.#lease.take(chunk.length)) throw noRoom()
    try {
      for (let at = 0; at < chunk.length; ) {
        const { bytesWritten } = await this.#file.write(chunk, at, chunk.length - at, this.#bytes + at)
        at += bytesWritten
      }
    } catch (error) {
      throw toSpoolFull(error)
    }
    this.#bytes += chunk.length
  }

  async *read(start: number, end: number): AsyncGenerator<Buffer> {
    for (let at = start; at < end; ) {
      const bytes = await this.#readAt(at, Math.min(CHUNK_BYTES, end - at))
      yield bytes
      at += bytes.length
    }
  }

  async close(): Promise<void> {
    // The bytes are the disk's again only when the file is closed.
    await this.#file.close().finally(() => this.#lease.release())
  }

  async #readAt(at: number, length: number): Promise<Buffer> {
    try {
      const { bytesRead, buffer } = await this.#file.read(Buffer.allocUnsafe(length), 0, length, at)
      if (bytesRead === 0) throw new Error('The spooled upload ended early')
      return buffer.subarray(0, bytesRead)
    } catch (error) {
      throw toSpoolFull(error)
    }
  }
}

async function openNameless(): Promise<FileHandle> {
  const path = join(tmpdir(), `gateway-upload-${randomUUID()}`)
  const file = await open(path, 'wx+', 0o600)
  try {
    await unlink(path)
  } catch (error) {
    // Swept by another gateway that starts on the same folder: that is what was wanted.
    if (codeOf(error) === 'ENOENT') return file
    await file.close()
    throw error
  }
  return file
}

/**
 * Files have their name for a moment only, so that what a crash left in that moment is empty and nobody's. A living
 * gateway on the same folder that is in that moment loses nothing but the name, which it is about to remove itself.
 */
async function sweep(): Promise<void> {
  const names = await readdir(tmpdir()).catch(() => [])
  for (const name of names) if (NAME.test(name)) await removeOwn(join(tmpdir(), name)).catch(() => {})
}

async function removeOwn(path: string): Promise<void> {
  const file = await lstat(path)
  if (file.isFile() && file.uid === process.getuid?.()) await unlink(path)
}

function usualBytes(): number {
  try {
    const { type, bavail, bsize } = statfsSync(tmpdir())
    return Math.min(MOST_BYTES, bavail * bsize * (type === TMPFS ? SHARE_OF_MEMORY_DISK : SHARE_OF_DISK))
  } catch {
    // No such folder, or none that may be looked at: uploads that need it are refused one by one, in words.
    return 0
  }
}

async function hasDiskFor(bytes: number): Promise<boolean> {
  const { bavail, bsize } = await statfs(tmpdir())
  return bytes <= bavail * bsize * (1 - SPARED_SHARE)
}

/** Whatever the disk says (full, over a quota, read-only, not ours, broken): it is not the client's fault, and may pass. */
function toSpoolFull(cause: unknown): Error {
  return cause instanceof Error && codeOf(cause) === 'spool_full' ? cause : noRoom(cause)
}

function noRoom(cause?: unknown) {
  return spoolFull(
    'There is no room to store this upload right now; send it again in a moment, or put the form field "model" (of ' +
      'images also "n") before the file: then nothing has to be stored',
    { cause },
  )
}
