import { chmodSync, closeSync, constants, lstatSync, openSync, rmSync } from 'node:fs'
import type { Server } from 'node:net'
import { join } from 'node:path'

// The kernel takes 107 bytes; some systems fewer.
const MOST_BYTES = 100

/** A name for a socket that is short enough for the kernel. */
export interface SocketPath {
  path: string
  /** To be called once nobody needs the name any more. */
  release(): void
}

/** Where the socket of that name in `folder` is; undefined when its path is too long for this system. */
export function openSocketPath(folder: string, name: string): SocketPath | undefined {
  const path = join(folder, name)
  if (Buffer.byteLength(path) <= MOST_BYTES) return { path, release: () => undefined }
  if (process.platform !== 'linux') return undefined
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  let isOpen = true
  const release = () => {
    // Closed twice, the number may be somebody else's file by then.
    if (isOpen) closeSync(fd)
    isOpen = false
  }
  return { path: `/proc/self/fd/${fd}/${name}`, release }
}

/** Listens where only the owner may connect; whoever calls this holds the lock of the folder. */
export async function listenOnSocket(server: Server, path: string): Promise<void> {
  removeStale(path)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(path, resolve)
  })
  chmodSync(path, 0o600)
}

/** Whoever holds the store's lock knows that nobody listens on what an earlier process has left. */
function removeStale(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new Error('something that is no socket stands in its place')
  rmSync(path)
}
