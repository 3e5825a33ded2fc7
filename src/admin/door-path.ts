import { closeSync, constants, openSync } from 'node:fs'
import { join } from 'node:path'

const SOCKET = 'gateway.sock'
// The kernel takes 107 bytes; some systems fewer.
const MOST_BYTES = 100

/** A name for the socket that is short enough for the kernel. */
export interface DoorPath {
  path: string
  /** To be called once nobody needs the name any more. */
  release(): void
}

/** Where the door of the store in `dbDir` is; undefined when its path is too long for this system. */
export function openDoorPath(dbDir: string): DoorPath | undefined {
  const path = join(dbDir, SOCKET)
  if (Buffer.byteLength(path) <= MOST_BYTES) return { path, release: () => undefined }
  if (process.platform !== 'linux') return undefined
  const fd = openSync(dbDir, constants.O_RDONLY | constants.O_DIRECTORY)
  let isOpen = true
  const release = () => {
    // Closed twice, the number may be somebody else's file by then.
    if (isOpen) closeSync(fd)
    isOpen = false
  }
  return { path: `/proc/self/fd/${fd}/${SOCKET}`, release }
}
