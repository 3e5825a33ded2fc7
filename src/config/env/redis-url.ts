import { type Environment, readSecret } from './secrets.ts'
import { describeRawPassword } from './url-password.ts'

/** Where Redis is, and how to get in. */
export interface RedisAddress {
  kind: 'single' | 'sentinel' | 'cluster'
  /** The server; with Sentinel the sentinels, with Cluster some of its nodes. */
  nodes: readonly { host: string; port: number }[]
  tls: boolean
  username?: string
  password?: string
  db: number
  /** What the sentinels call the primary. */
  masterName?: string
  sentinelUsername?: string
  sentinelPassword?: string
}

const PROTOCOL = /^(rediss?)(?:-(sentinel|cluster))?:\/\//
const SHAPE = /^(?:([^:@/]*)(?::([^@/]*))?@)?([^/?@]+)(?:\/([^?]*))?(?:\?(.*))?$/
const EXPECTS =
  'redis://user:password@host:6379/0, rediss://... (TLS), redis-sentinel://host:26379,host:26379/primary-name or redis-cluster://host:6379,host:6379'

/** Reads `REDIS_URL` (or the file that `REDIS_URL_FILE` names); no mistake's text repeats the URL. */
export function readRedisUrl(env: Environment, mistakes: string[]): RedisAddress | undefined {
  const { value, mistake } = readSecret(env, 'REDIS_URL')
  if (mistake) mistakes.push(mistake)
  if (value === undefined) return undefined
  try {
    return parse(value)
  } catch (error) {
    const raw = describeRawPassword(value.replace(PROTOCOL, ''))
    const reason = raw || (error instanceof Error ? error.message : 'it cannot be read')
    mistakes.push(`REDIS_URL is wrong: ${reason}; it must look like ${EXPECTS}`)
    return undefined
  }
}

function parse(url: string): RedisAddress {
  const [head = '', scheme, kind = 'single'] = PROTOCOL.exec(url) ?? []
  const parts = SHAPE.exec(url.slice(head.length))
  if (scheme === undefined || parts === null) throw new Error('its form is unknown')
  const [, user, password, hosts = '', path = '', query = ''] = parts
  const words = path.split('/')
  const masterName = kind === 'sentinel' ? decodeURIComponent(words.shift() ?? '') : undefined
  if (masterName === '') throw new Error('the name of the primary is missing')
  const db = words.join('/') || '0'
  if (!/^\d{1,4}$/.test(db) || (kind === 'cluster' && db !== '0'))
    throw new Error('its database is no number')
  const extra = new URLSearchParams(query)
  for (const name of extra.keys())
    if (!/^sentinel(Username|Password)$/.test(name)) throw new Error('it has an unknown parameter')
  return {
    kind: kind === 'sentinel' || kind === 'cluster' ? kind : 'single',
    nodes: hosts.split(',').map((host) => readNode(host, kind === 'sentinel' ? 26_379 : 6_379)),
    tls: scheme === 'rediss',
    db: Number(db),
    ...(user ? { username: decodeURIComponent(user) } : {}),
    ...(password ? { password: decodeURIComponent(password) } : {}),
    ...(masterName === undefined ? {} : { masterName }),
    ...optional('sentinelUsername', extra),
    ...optional('sentinelPassword', extra),
  }
}

function readNode(text: string, fallback: number): { host: string; port: number } {
  const found = /^(?:\[([0-9a-fA-F:]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text)
  const host = found?.[1] ?? found?.[2]
  const port = Number(found?.[3] ?? fallback)
  if (host === undefined || port < 1 || port > 65_535) throw new Error('a host or port is wrong')
  return { host, port }
}

function optional(name: string, query: URLSearchParams): Record<string, string> {
  const value = query.get(name)
  return value === null ? {} : { [name]: value }
}
