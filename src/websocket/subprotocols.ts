import type { IncomingHttpHeaders } from 'node:http'

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
/** Entries that are credentials or name somebody's account: for the gateway alone. */
const PRIVATE = /^openai-(insecure-api-key|organization|project)\./i

/** What the client offers, as it wrote it; undefined: it is no list of tokens. */
export const readProtocols = (headers: IncomingHttpHeaders): readonly string[] | undefined => {
  const text = headers['sec-websocket-protocol']
  if (text === undefined) return []
  const names = text.split(',').map((name) => name.trim())
  return names.every((name) => TOKEN.test(name)) && new Set(names).size === names.length ? names : undefined
}

/** Those that an upstream may see. */
export const publicProtocols = (names: readonly string[]): string[] =>
  names.filter((name) => !PRIVATE.test(name))

/** Those that a realtime provider knows: nothing of the client's own goes to it. */
export const realtimeProtocols = (names: readonly string[]): string[] =>
  names.filter((name) => name === 'realtime' || /^openai-beta\./.test(name))
