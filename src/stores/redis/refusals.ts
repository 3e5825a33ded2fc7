import { codeOf, errorText } from '../../errors.ts'
import { CLOSED, describeNetwork, type OutageReason, unknownReason } from '../outage.ts'

const RIGHTS = 'give its user the rights that docs/replicas.md lists'

/** How Redis begins its refusals, and what they mean for this gateway. */
const REFUSALS: readonly (readonly [RegExp, OutageReason])[] = [
  [
    /^WRONGPASS|invalid username-password pair|user is disabled/,
    {
      reason: 'WRONGPASS: it refuses this user or password',
      way: 'put the right ones into REDIS_URL (a file named by REDIS_URL_FILE is read again by itself)',
      fault: 'secret',
    },
  ],
  [
    /^NOAUTH|HELLO must be called with the client already authenticated/,
    {
      reason: 'NOAUTH: it wants a password',
      way: 'put one into REDIS_URL: redis://user:password@host (a file named by REDIS_URL_FILE is read again by itself)',
      fault: 'secret',
    },
  ],
  [
    /without any password configured|no password is set/,
    {
      reason: 'it has no password, but REDIS_URL names one',
      way: 'set one in Redis (requirepass), or take it out of REDIS_URL',
      fault: 'setting',
    },
  ],
  [
    /^READONLY|read only replica/,
    {
      reason: 'READONLY: it is a replica that takes no writes',
      way: 'name the primary in REDIS_URL, or the sentinels (redis-sentinel://); after a failover this passes',
    },
  ],
  [/^LOADING/, { reason: 'LOADING: it reads its data from the disk', way: 'wait; that passes' }],
  [
    /^MISCONF/,
    {
      reason: 'MISCONF: it cannot save its data and takes no writes',
      way: 'look at the disk of Redis and at its log',
    },
  ],
  [
    /^CLUSTERDOWN|Failed to refresh slots cache|None of startup nodes is available/,
    {
      reason: 'CLUSTERDOWN: a part of the cluster is missing',
      way: 'look at "redis-cli cluster info" and start the nodes that are away',
    },
  ],
  [
    /^MASTERDOWN/,
    { reason: 'MASTERDOWN: its primary is away', way: 'start the primary, or wait for the failover' },
  ],
  [
    /^NOREPLICAS/,
    {
      reason: 'NOREPLICAS: too few replicas are there for a write (min-replicas-to-write)',
      way: 'start the replicas',
    },
  ],
  [
    /max number of clients/,
    {
      reason: 'it takes no more connections (maxclients)',
      way: 'raise maxclients in Redis, or look for who holds so many',
    },
  ],
  [
    /^BUSY/,
    { reason: 'BUSY: a script of somebody runs for too long', way: 'look at who else uses this Redis' },
  ],
  [/^OOM/, { reason: 'OOM: it has no memory left', way: 'give it more memory (maxmemory)' }],
  [
    /no longer holds the store/,
    {
      reason: 'it is empty, or another one',
      way: 'restore its data, or mend REDIS_URL',
      fault: 'setting',
    },
  ],
  [
    /may evict balances/,
    {
      reason: 'it may throw balances away when its memory is full',
      way: 'set its maxmemory-policy to noeviction',
      fault: 'setting',
    },
  ],
  // Of a command that was on its way when the connection ended: ioredis says so, and not why.
  [/^Reached the max retries per request/, CLOSED],
  [
    /gave no answer in/,
    { reason: 'it gives no answer in time', way: 'look at its load and at the network between' },
  ],
]

/** ioredis says so of every command while the connection is away: why it is, another error has said. */
const EMPTY = /^(?:Stream isn't writeable|Connection is closed|Connection is in|Command aborted)/
const MAY_NOT_RUN = /^NOPERM[^']*'([a-z|_-]{1,40})'/i
/** In a script Redis 7.0 tells it as a mistake of the script. */
const NO_RIGHT = /^NOPERM|ACL failure in script|^ERR The user executing the script can't/i
const NO_KEYS = /\bkeys?\b/i

/** Why Redis cannot be used; undefined: this error says nothing that an earlier one has not said better. */
export function describeRefusal(error: unknown): OutageReason | undefined {
  const text = errorText(error)
  // What a node or a sentinel said stands inside of what the client says.
  const inner: unknown =
    error instanceof Error ? (Reflect.get(error, 'lastNodeError') ?? error.cause) : undefined
  const within = inner instanceof Error ? describeRefusal(inner) : undefined
  if (within) return within
  const [, last] = /^All sentinels are unreachable.*Last error: (.*)$/s.exec(text) ?? []
  if (last !== undefined) return describeSentinel(last)
  if (NO_RIGHT.test(text)) return describeRight(text)
  const found = REFUSALS.find(([pattern]) => pattern.test(text))
  if (found) return found[1]
  if (EMPTY.test(text)) return undefined
  return describeNetwork(error) ?? unknownReason(error)
}

function describeRight(text: string): OutageReason {
  const [, command] = MAY_NOT_RUN.exec(text) ?? []
  const other = NO_KEYS.test(text) ? 'the keys of REDIS_PREFIX' : 'a command inside of a script'
  const what = command === undefined ? other : `the command "${command}"`
  return { reason: `NOPERM: its user has no right to ${what}`, way: RIGHTS, fault: 'setting' }
}

function describeSentinel(text: string): OutageReason {
  const [code = ''] = /\b(?:E[A-Z_]{4,}|CERT_[A-Z_]+)\b/.exec(text) ?? []
  const known = describeRefusal(Object.assign(new Error(text), code === '' ? {} : { code }))
  const { reason, way, fault } = known ?? unknownReason(undefined)
  return { reason: `no sentinel helps: ${reason}`, way, ...(fault ? { fault } : {}) }
}

/** Whether somebody has to give us other words or rights. */
export function isRefused(error: unknown): boolean {
  return codeOf(error) === undefined && describeRefusal(error)?.fault === 'secret'
}

/** A right that is missing makes Redis useless, though it calls that a mistake of the script. */
export function lacksRight(error: Error): boolean {
  return NO_RIGHT.test(error.message)
}
