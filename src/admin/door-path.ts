import { openSocketPath, type SocketPath } from '../socket-path.ts'

/** Where the door of the store in `dbDir` is; undefined when its path is too long for this system. */
export function openDoorPath(dbDir: string): SocketPath | undefined {
  return openSocketPath(dbDir, 'gateway.sock')
}
