// Names of headers that no client of a service may write, and no rule of a row: in lower case.

/** What ends at the next hop (RFC 9110, section 7.6.1), and what says how a body is framed: no rule of a row changes these. */
export const OF_ONE_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
])

/** The gateway alone says these to a service; anybody else would be believed as the gateway is. */
export const OF_GATEWAY: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'via',
  'traceparent',
  'tracestate',
  'x-request-id',
  'x-user-id',
  'x-user-claims',
  'x-token-id',
  'x-token-user',
  'forwarded',
  'x-real-ip',
])

/** And each name that begins so. */
export const OF_GATEWAY_FAMILIES = /^x-(?:internal|forwarded)(?:-|$)/

/** By these a client could tell a service that it is somebody else, elsewhere, or asks for something else. */
export const OF_PROXIES: ReadonlySet<string> = new Set([
  'client-ip',
  'true-client-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'x-original-forwarded-for',
  'x-originating-ip',
  'x-remote-ip',
  'x-remote-addr',
  'x-remote-user',
  'remote-user',
  'forwarded-for',
  'proxy-client-ip',
  'wl-proxy-client-ip',
  'http-client-ip',
  'do-connecting-ip',
  'fly-client-ip',
  'cf-connecting-ip',
  'cf-connecting-ipv6',
  'cf-pseudo-ipv4',
  'fastly-client-ip',
  'x-appengine-user-ip',
  'x-azure-clientip',
  'x-azure-socketip',
  'x-envoy-external-address',
  'x-envoy-original-path',
  'x-original-url',
  'x-original-uri',
  'x-original-host',
  'x-original-method',
  'x-rewrite-url',
  'x-host',
  'x-http-host-override',
  // CGI would make HTTP_PROXY of it, by which programs find a proxy.
  'proxy',
])
