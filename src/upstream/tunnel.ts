import { request as secure } from 'node:https'
import { isIP, type Socket } from 'node:net'
import { request as plain } from '../node-http.ts'
import { isExhausted, ownFaultBehind } from './own-fault.ts'
import { MAX_HEAD_BYTES, tlsOptions, UpstreamError } from './rules.ts'

/** A proxy between this gateway and the internet. */
export interface OutgoingProxy {
  /** Whether it is itself spoken to over TLS. */
  isTls: boolean
  host: string
  port: number
  /** The value of `Proxy-Authorization`, for a proxy that asks who comes. */
  authorization: string | undefined
}

/** Where a connection is to end. */
export interface Target {
  /** An IPv6 address is without brackets. */
  host: string
  port: number
  isTls: boolean
}

/** Undefined: there is no proxy on the way to this target. */
export type ProxyFor = (target: Target) => OutgoingProxy | undefined

/** The target of a URL. */
export function targetOf({ hostname, port, protocol }: URL): Target {
  const isTls = protocol === 'https:'
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (isTls ? 443 : 80) : Number(port),
    isTls,
  }
}

/** It is called once: with the open tunnel, or with what went wrong. */
export type TunnelDone = (error: Error | undefined, socket?: Socket) => void

/**
 * Asks a proxy for a tunnel (RFC 9110 section 9.3.6), for plain HTTP targets as well: POSTs, services and WebSockets then
 * go one way, kept connections stay one client's, and neither the proxy's caches nor its log see a provider's key. What
 * fails before the tunnel stands is the proxy's failure and named so. Returns how it is given up, and why.
 */
export function openTunnel(
  proxy: OutgoingProxy,
  { host, port }: Target,
  done: TunnelDone,
): (why: Error) => void {
  const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`
  const { authorization } = proxy
  const options = {
    host: proxy.host,
    port: proxy.port,
    method: 'CONNECT',
    path: authority,
    agent: false as const,
    maxHeaderSize: MAX_HEAD_BYTES,
    headers: {
      host: authority,
      ...(authorization === undefined ? {} : { 'proxy-authorization': authorization }),
    },
  }
  // Without a name of its own Node would take the target's, and look for that in the proxy's certificate.
  const servername = isIP(proxy.host) ? '' : proxy.host
  const request = proxy.isTls ? secure({ ...options, ...tlsOptions(proxy.host), servername }) : plain(options)
  let isReached = false
  let isOver = false
  const finish: TunnelDone = (error, socket) => {
    if (isOver) return
    isOver = true
    if (error) request.destroy()
    done(error, socket)
  }
  request.once('socket', (socket) => {
    socket.once(proxy.isTls ? 'secureConnect' : 'connect', () => {
      isReached = true
    })
  })
  request.on('error', (cause) => finish(unreachable(cause)))
  request.once('connect', ({ statusCode = 0 }, socket, head) => {
    // It is the next owner's to watch; until then a reset is only the end of it.
    socket.on('error', () => socket.destroy())
    if (isOver) return void socket.destroy()
    if (statusCode >= 200 && statusCode < 300 && head.length === 0) return finish(undefined, socket as Socket)
    socket.destroy()
    finish(new UpstreamError(`PROXY_${statusCode}`, 'The proxy refused the way to the provider'))
  })
  request.end()
  return (why) => finish(isReached ? why : unreachable(why))
}

function unreachable(error: Error) {
  const cause = ownFaultBehind(error)
  // It is not the proxy that has no more files.
  if (isExhausted(cause)) return cause
  return new UpstreamError('PROXY_UNREACHABLE', 'The proxy could not be reached', { cause })
}
