/** Who may enter a route: a token of ours, whoever has a verified JWT, either of them, anybody. */
export type Entry = 'token' | 'jwt' | 'any' | 'open'

/** One place that a route leads to. */
export interface ServiceTarget {
  /** `http://users:3000` or `https://...`, also where WebSockets go: their handshake is HTTP. */
  origin: string
  /** What stands before the rest of the path: `''` or `/v2`, without a final slash. */
  basePath: string
  /** Unset where the form of the path decides: see `SessionForm`. */
  session?: SessionForm | undefined
}

/**
 * Where the target wants a value that clients send as the next part of the path or as a field of the query:
 * `ws://backend:8000/ws/{session_id}` or `ws://backend:8000/ws?session_id={session_id}`.
 */
export interface SessionForm {
  name: string
  in: 'path' | 'query'
}

/** A path below the route's prefix that anybody may ask for, such as `/login`. */
export interface OpenPath {
  /** Undefined: every method. */
  method: string | undefined
  /** It begins with a slash; a trailing `/*` is told by `isTree`. */
  path: string
  isTree: boolean
}

export interface RouteLimits {
  /** By caller: a token, the subject of a JWT, an address. */
  perMinute?: number | undefined
  perDay?: number | undefined
  /** Of all callers together. */
  inFlight?: number | undefined
  maxBodyBytes?: number | undefined
}

/** What is not said is the gateway's own. */
export interface RouteTimeouts {
  connectMs?: number | undefined
  firstByteMs?: number | undefined
  idleMs?: number | undefined
  totalMs?: number | undefined
}

export interface RouteRetry {
  /** How many asks there may be in all; 1: no retry. */
  attempts: number
  /** Besides dials that came to nothing: statuses (502, 503, 504) and connections that broke before an answer. */
  statuses: readonly number[]
  onReset: boolean
  /** Methods that may be asked again; dials that came to nothing go to another target whatever the method. */
  methods: readonly string[]
}

/** Names in lower case. What the gateway sets itself, and what HTTP forbids, no rule changes. */
export interface HeaderRules {
  set: Readonly<Record<string, string>>
  remove: readonly string[]
  /** Passed though it would be taken out otherwise: `authorization`, `cookie`. */
  pass: readonly string[]
}

export interface RouteCors {
  origins: readonly string[]
  credentials: boolean
}

/** Active checks of a target; passive ejection needs none. */
export interface TargetCheck {
  path: string
  everyMs: number
  timeoutMs: number
  /** So many in a row turn a target's state. */
  failures: number
  successes: number
}

/** One row of the table: a public path, and all below it, handed to a service. */
export interface ServiceRoute {
  /** For rights of tokens, metrics and log lines; the prefix where none is given. */
  name: string
  /** It begins with a slash and ends without one. */
  prefix: string
  /** At least one; empty where a provider answers. */
  targets: readonly ServiceTarget[]
  /** A provider of the catalog, whose key goes along, in the place of targets; `''`: the first one. */
  provider?: string | undefined
  /** The whole public path is sent behind the target's base (of a provider: without `/v1`), not only what follows the prefix. */
  keepsPrefix: boolean
  serves: 'http' | 'websocket' | 'both'
  /** Undefined: every method. */
  methods?: readonly string[] | undefined
  entry: Entry
  openPaths: readonly OpenPath[]
  /** A JWT must have one of the values of each; a claim may be a list or, as `scope`, words with blanks between. */
  claims: Readonly<Record<string, readonly string[]>>
  /** Undefined: tokens of every type. */
  tokenTypes?: readonly ('user' | 'admin')[] | undefined
  limits: RouteLimits
  timeouts: RouteTimeouts
  retry: RouteRetry
  /** Of requests to the service, and of its answers. */
  requestHeaders: HeaderRules
  responseHeaders: HeaderRules
  /** `cookie` passes to the service and `set-cookie` back. */
  cookies: boolean
  /** Undefined: as the whole gateway. */
  cors?: RouteCors | undefined
  writesUsage: boolean
  /** Templates of paths below the prefix (`/orders/{id}`) for usage rows. */
  paths: readonly string[]
  /** `x-internal-api-key` is sent. */
  sendsInternalKey: boolean
  /** A token may come as `?api_key=`. */
  takesQueryKey: boolean
  balance: 'round-robin' | 'least-in-flight'
  sticky?: { in: 'header' | 'cookie'; name: string } | undefined
  check?: TargetCheck | undefined
}

/** What a request's path and method lead to. */
export interface FoundRoute {
  route: ServiceRoute
  /** The route's own, or `open` on one of its open paths. */
  entry: Entry
}

/** What a request wants: an answer, or a socket (a GET with `Upgrade: websocket`). */
export type ServiceKind = 'http' | 'websocket'

/** All routes, of the environment and of the configuration file. */
export interface ServiceTable {
  readonly routes: readonly ServiceRoute[]
  /**
   * By the longest prefix of this kind that covers the raw path (no query), where no longer one guards a handshake that is
   * HTTP's alone; its cost does not grow with the table. A path
   * that a service may read as one of another route (`/a/%62`, `/a//b`, `/A/b` beside a route `/a/b`) leads nowhere.
   */
  find(path: string, method: string, kind: ServiceKind): FoundRoute | undefined
  /** Whether a path is the operator's, whatever is wanted of it. */
  covers(path: string): boolean
}
