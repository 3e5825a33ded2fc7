import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { createServer as createTlsServer, getCACertificates, setDefaultCACertificates } from 'node:tls'
import t from 'tap'
import { Deadlines } from '../../src/deadlines.ts'
import { openUpstreams } from '../../src/upstream/upstreams.ts'
import { makeCertificates } from '../support/certificates.ts'

const MIB = 1024 * 1024
const GIB = 1024 * MIB
const PIECE = Buffer.alloc(64 * 1024, 'x')
/** Of both sides of it, which are one process here: buffers on their way, and what is not collected yet. */
const MOST_BYTES = 160 * MIB

/**
 * Reads what it is sent in fits and starts, and sends a GiB back in the meantime, the last piece of it when it has read one.
 */
function answerInTheMeantime(socket: Socket): void {
  let [read, left] = [0, GIB]
  const say = (): void => {
    // It is called for each piece that comes, too: what was not taken yet would pile up in this server.
    while (!socket.writableNeedDrain && (left > PIECE.length || (left > 0 && read > GIB))) {
      left -= PIECE.length
      socket.write(PIECE)
    }
  }
  socket.on('error', () => undefined).on('drain', say)
  socket.on('data', (bytes) => {
    if (read === 0) socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${GIB}\r\n\r\n`)
    read += bytes.length
    say()
  })
  const fits = setInterval(() => {
    socket.pause()
    setTimeout(() => socket.resume(), 20)
  }, 200)
  socket.once('close', () => clearInterval(fits))
}

function endless(bytes: number): Readable {
  let left = bytes
  return new Readable({
    read() {
      const piece = PIECE.subarray(0, Math.min(left, PIECE.length))
      left -= piece.length
      this.push(piece.length > 0 ? piece : null)
    },
  })
}

const { good, authority } = await makeCertificates()
// Once: of two authorities of one name OpenSSL may ask the wrong one.
setDefaultCACertificates([...getCACertificates('default'), authority])

for (const scheme of ['http', 'https'])
  t.test(`a GiB each way at once over ${scheme}, past a reader that stops, takes no memory`, async (t) => {
    const server =
      scheme === 'http' ? createServer(answerInTheMeantime) : createTlsServer(good, answerInTheMeantime)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    const upstreams = openUpstreams({ connectTimeoutMs: 5_000 }, new Deadlines())
    t.teardown(() => upstreams.close())
    let [most, read, stops] = [0, 0, 0]
    const base = process.memoryUsage.rss()
    const watch = setInterval(() => {
      most = Math.max(most, process.memoryUsage.rss() - base)
    }, 10)
    t.teardown(() => clearInterval(watch))
    const { promise, resolve } = Promise.withResolvers<string>()
    const request = {
      method: 'PUT',
      path: '/',
      headers: [],
      body: { body: endless(GIB), length: scheme === 'http' ? undefined : GIB },
      firstByteMs: 10_000,
      idleMs: 10_000,
    }
    const origin = `${scheme}://localhost:${(server.address() as AddressInfo).port}`
    const attempt = upstreams.send(origin, request, {
      answered: () => undefined,
      data(bytes) {
        read += bytes.length
        if (read < (stops + 1) * 100 * MIB) return
        stops += 1
        attempt.pause()
        void sleep(50).then(() => attempt.resume())
      },
      ended: () => resolve('ended'),
      failed: (error) => resolve(String(error)),
    })
    t.equal(await promise, 'ended')
    t.equal(read, GIB)
    t.equal(stops, 10)
    t.ok(most < MOST_BYTES, `${Math.round(most / MIB)} MiB`)
  })
