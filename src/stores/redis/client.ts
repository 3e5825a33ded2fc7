import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type { RedisAddress } from '../../config/env/redis-url.ts'

/** A server, a server found by its sentinels, or a Cluster. */
export type Client = Redis | Cluster

const CONNECT_TIMEOUT_MS = 1_000
const LONGEST_PAUSE_MS = 500
// A server that is silent does not say goodbye either.
const DISCONNECT_TIMEOUT_MS = 50

function pauseMs(attempt: number): number {
  return Math.min(LONGEST_PAUSE_MS, 25 * 2 ** Math.min(attempt, 6))
}

/** Commands are sent once: a repeated one may have been executed already, and a waiting one is of no use to anybody. */
const ONCE: RedisOptions = {
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  connectTimeout: CONNECT_TIMEOUT_MS,
  disconnectTimeout: DISCONNECT_TIMEOUT_MS,
  retryStrategy: pauseMs,
  enableReadyCheck: true,
  // The old primary refuses writes after a failover: ask again who the primary is.
  reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 1 : false),
  lazyConnect: true,
}

/** Builds the client; it connects when told so. */
export function buildClient(address: RedisAddress): Client {
  const client = makeClient(address)
  // Without any listener ioredis would write errors, stack and all, to the console.
  client.on('error', () => undefined)
  return client
}

function makeClient(address: RedisAddress): Client {
  const { kind, nodes, tls, db, username, password, masterName } = address
  const access: RedisOptions = {
    ...ONCE,
    db,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls: {} } : {}),
  }
  if (kind === 'cluster') return buildCluster(nodes, access)
  if (kind === 'single') return new Redis({ ...access, ...nodes[0] })
  const { sentinelUsername, sentinelPassword } = address
  return new Redis({
    ...access,
    name: masterName ?? '',
    sentinels: nodes.map(({ host, port }) => ({ host, port })),
    sentinelRetryStrategy: pauseMs,
    sentinelCommandTimeout: CONNECT_TIMEOUT_MS,
    failoverDetector: true,
    ...(sentinelUsername === undefined ? {} : { sentinelUsername }),
    ...(sentinelPassword === undefined ? {} : { sentinelPassword }),
    ...(tls ? { enableTLSForSentinelMode: true, sentinelTLS: {} } : {}),
  })
}

function buildCluster(nodes: RedisAddress['nodes'], redisOptions: RedisOptions): Cluster {
  const { db: _db, retryStrategy: _retry, lazyConnect: _lazy, ...rest } = redisOptions
  return new Cluster([...nodes], {
    enableOfflineQueue: false,
    lazyConnect: true,
    clusterRetryStrategy: pauseMs,
    slotsRefreshTimeout: CONNECT_TIMEOUT_MS,
    slotsRefreshInterval: 2_000,
    maxRedirections: 4,
    retryDelayOnFailover: 50,
    // A certificate names hosts: with TLS the nodes are called as they call themselves.
    dnsLookup: (name, callback) => callback(null, name),
    redisOptions: rest,
  })
}
