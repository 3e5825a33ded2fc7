import { readBaseUrl } from '../base-url.ts'
import { findPathMistake } from '../public-paths.ts'

/** A path that goes out unmetered, with all below it: to a provider, to a URL, or to the first provider. */
export interface Passthrough {
  prefix: string
  provider?: string | undefined
  url?: string | undefined
}

/** One `path`, `path=provider` or `path=https://url` of PASSTHROUGH_PATHS. */
export function readPassthrough(entry: string): Passthrough | { mistake: string } {
  const equals = entry.indexOf('=')
  const path = equals < 0 ? entry : entry.slice(0, equals).trim()
  const prefix = path.replace(/\/$/, '')
  const mistake = findPathMistake(prefix)
  if (mistake) return { mistake }
  if (equals < 0) return { prefix }
  return readTarget(prefix, entry.slice(equals + 1).trim())
}

function readTarget(prefix: string, text: string): Passthrough | { mistake: string } {
  if (/^[a-z][a-z0-9_-]*$/.test(text)) return { prefix, provider: text }
  const isMarked = text.endsWith('!insecure')
  const url = readBaseUrl(isMarked ? text.slice(0, -'!insecure'.length) : text, {
    insecure: isMarked ? 'allowed' : 'end the entry in "!insecure"',
  })
  if ('mistake' in url)
    return { mistake: `(${prefix}) must name a provider or a URL; the URL ${url.mistake}` }
  return { prefix, url: url.origin + url.basePath }
}
