import type { Transform } from 'node:stream'
import { createGunzip, createInflate } from 'node:zlib'

/**
 * The meter alone reads through it: a compressed stream passes to the client as it is. Undefined: it is not compressed.
 */
export const openDecoder = (
  encoding: string | undefined,
  onPlain: (plain: Buffer) => void,
): Transform | undefined => {
  if (!encoding || encoding === 'identity') return undefined
  const decoder = encoding === 'deflate' ? createInflate() : createGunzip()
  // Bytes that cannot be read are counted by estimate; they pass to the client as they came.
  return decoder.on('data', onPlain).on('error', () => {})
}

/** It works on other threads: what it was given last, the report too, comes out later. */
export const readOut = (decoder: Transform): Promise<void> =>
  new Promise((resolve) => {
    if (decoder.closed) resolve()
    else decoder.once('close', resolve).end()
  })
