import { setTimeout } from 'node:timers/promises'
import type { Behaviour } from './behaviour.ts'
import { json, OPENAI_HEADERS, raw } from './behaviour.ts'

/** Accepts, reads and never answers. */
export function hang(): Behaviour {
  return { act: () => undefined }
}

/** Sends the head of an answer and nothing more. */
export function hangAfterHeaders(contentType = 'application/json'): Behaviour {
  return {
    act({ res }) {
      res.writeHead(200, { 'content-type': contentType, ...OPENAI_HEADERS })
      res.flushHeaders()
    },
  }
}

/** Cuts the connection once the request has been read. */
export function resetBeforeAnswer(): Behaviour {
  return { act: (call) => call.reset() }
}

type Write = (bytes: Buffer, sent?: () => void) => unknown

/** Lets `n` bytes pass to `write`, then none, and calls `cut` when they are out. */
function limitedWriter(n: number, write: Write, cut: () => void) {
  let left = n
  return (bytes: Buffer): boolean => {
    if (left < 0) return false
    if (bytes.length < left) {
      left -= bytes.length
      write(bytes)
      return true
    }
    const last = bytes.subarray(0, left)
    left = -1
    write(last, cut)
    return false
  }
}

function toBuffer(bytes: unknown, encoding: unknown): Buffer {
  if (typeof bytes !== 'string') return bytes instanceof Uint8Array ? Buffer.from(bytes) : Buffer.alloc(0)
  return Buffer.from(bytes, typeof encoding === 'string' && Buffer.isEncoding(encoding) ? encoding : 'utf8')
}

function calledBack(args: unknown[]) {
  const callback = args.findLast((arg) => typeof arg === 'function')
  // The callback waits a tick: node:http would let go of a socket that it has still corked.
  if (typeof callback === 'function') process.nextTick(callback)
}

/** Runs `inner`, but cuts the connection after `n` bytes of the wire: status line, headers and framing included. */
export function resetAtByte(n: number, inner: Behaviour): Behaviour {
  return {
    async act(call) {
      const { socket } = call
      const write = socket.write.bind(socket)
      const limited = limitedWriter(n, write, () => call.reset())
      socket.write = (bytes: unknown, ...args: unknown[]) => {
        const passed = limited(toBuffer(bytes, args[0]))
        calledBack(args)
        return passed
      }
      await inner.act(call)
    },
  }
}

/** Runs `inner`, but cuts the connection after `n` bytes of its body. */
export function resetAtBodyByte(n: number, inner: Behaviour): Behaviour {
  return {
    async act(call) {
      const { res } = call
      const [write, end] = [res.write.bind(res), res.end.bind(res)]
      let cut = false
      const limited = limitedWriter(n, write, () => call.reset())
      const pass = (bytes: unknown, args: unknown[]) => {
        if (!cut) cut = !limited(toBuffer(bytes, args[0]))
        calledBack(args)
        return true
      }
      res.write = (bytes: unknown, ...args: unknown[]) => pass(bytes, args)
      res.end = (bytes?: unknown, ...args: unknown[]) => {
        if (bytes !== undefined && typeof bytes !== 'function') pass(bytes, args)
        return cut ? res : end()
      }
      await inner.act(call)
    },
  }
}

/** Writes these bytes to the socket as they are and, unless told to stay, closes. */
export function bytes(text: string, { stay = false } = {}): Behaviour {
  return {
    act(call) {
      call.leaving()
      if (stay) call.socket.write(text)
      else call.socket.end(text)
    },
  }
}

/** An answer that is no HTTP at all. */
export function garbage(): Behaviour {
  return bytes('\x00\x01\x02 this is not HTTP\r\n\r\n')
}

/** A chunk whose size is no number. */
export function badChunk(): Behaviour {
  return bytes(
    'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n{"a":1}\r\n0\r\n\r\n',
  )
}

/** Promises more bytes than it sends, and closes. */
export function wrongLength(): Behaviour {
  return bytes(
    'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"id":"chatcmpl-',
  )
}

/** One response header of 200 kB. */
export function hugeHeader(): Behaviour {
  return json({}, { headers: { 'x-huge': 'h'.repeat(200_000) } })
}

export function redirect(url: string, status = 302): Behaviour {
  return raw(status, { location: url })
}

/** What a captive portal or a wrong base URL answers. */
export function html200(): Behaviour {
  return raw(200, { 'content-type': 'text/html; charset=utf-8' }, '<!doctype html><title>Welcome</title>')
}

/** A JSON answer that trickles, one byte after the other. */
export function slowBody(msPerByte: number, body: object = { id: 'slow', usage: null }): Behaviour {
  return {
    async act({ res }) {
      const text = Buffer.from(JSON.stringify(body))
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length })
      for (const byte of text) {
        if (res.destroyed) return
        res.write(Buffer.of(byte))
        await setTimeout(msPerByte)
      }
      res.end()
    },
  }
}

/** Answers as `inner` as soon as the headers are there, with the request's body unread. */
export function early(inner: Behaviour): Behaviour {
  return { early: true, act: (call) => inner.act(call) }
}
