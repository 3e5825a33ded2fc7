import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

// Below the ports that a kernel gives to outgoing connections (32768 and up on Linux): none of those can take it meanwhile.
const [LOWEST, BEYOND] = [12_000, 32_000]

/** A port of 127.0.0.1 where nobody listens, and nobody will by chance. */
export async function unusedPort(): Promise<number> {
  for (;;) {
    const port = randomInt(LOWEST, BEYOND)
    const server = createServer()
    const isFree = await once(server.listen(port, '127.0.0.1'), 'listening').then(
      () => true,
      () => false,
    )
    if (!isFree) continue
    const closed = once(server, 'close')
    server.close()
    await closed
    return port
  }
}
