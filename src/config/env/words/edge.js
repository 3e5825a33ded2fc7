// @ts-check

/** @type {readonly import('./words.js').Group[]} */
export const edgeWords = [
  {
    title: 'The production edge',
    intro:
      'The compose files read these; the gateway itself ignores them. See [Production in ten minutes](production.md).',
    settings: {
      COMPOSE_FILE: {
        means:
          'On a server docker-compose.prod.yml, so that a forgotten `-f` means production. Compose 2 takes no empty value.',
        expects: 'docker-compose.prod.yml',
        unset: 'docker-compose.yml, for development',
        isLeftOut: true,
      },
      DOMAIN1: {
        means: "Your hostnames. A sixth DNS record, `traefik.` before the first, is the dashboard's.",
        expects: 'api.example.com',
        unset: 'required',
      },
      ...Object.fromEntries(
        ['DOMAIN2', 'DOMAIN3', 'DOMAIN4', 'DOMAIN5'].map((name) => [
          name,
          { means: '', expects: 'another hostname; it may be the same as one before', unset: 'one less' },
        ]),
      ),
      ACME_EMAIL: {
        means:
          'Whom the certificate authority may write to. `LETSENCRYPT_EMAIL` of older guides is read too.',
        expects: 'an e-mail address',
        unset: 'required, but with ACME_CHALLENGE=off',
        also: ['LETSENCRYPT_EMAIL'],
      },
      ACME_CHALLENGE: {
        means:
          'How the authority asks for a name: over TLS on port 443, over HTTP on port 80 (behind a proxy that ends TLS); off: no certificate is ordered, all are your own in `edge/certificates`.',
        expects: 'tls, http or off',
        unset: '`tls`',
      },
      EDGE_TRUSTED_PROXIES: {
        means:
          "What stands in front, whose `X-Forwarded-For` is believed: your own proxy, Cloudflare, a load balancer. Limits by address, the dashboard's list and the log are about the client behind.",
        expects: 'addresses or CIDR blocks with commas between',
        unset: 'none',
      },
      ACME_CA_SERVER: {
        means: 'For a first try https://acme-staging-v02.api.letsencrypt.org/directory.',
        expects: "a directory's URL",
        unset: "Let's Encrypt",
      },
      ACME_CERTIFICATE_HOURS: {
        means:
          "How long your authority's certificates live, if it is not Let's Encrypt: decides when to renew.",
        expects: 'hours',
        unset: '`2160`',
      },
      EDGE_ADDRESSES: {
        means: "The server's public addresses, where it cannot reach itself by them: behind NAT, IPv6.",
        expects: 'addresses with commas between',
        unset: 'found by trial',
      },
      EDGE_DNS_CHECK: {
        means: 'off: certificates are ordered wherever the names point, for an edge behind another one.',
        expects: 'on or off',
        unset: '`on`',
      },
      DASHBOARD_ALLOWLIST: {
        means: 'Who may see the dashboard.',
        expects: 'addresses or CIDR blocks with commas between',
        unset: 'everybody with the password',
      },
      COMPOSE_PROFILES: {
        means:
          'scale: two more gateways and Redis; then `REDIS_URL=redis://redis:6379` too. monitoring: Prometheus and Grafana, at `https://traefik.DOMAIN1/grafana/`.',
        expects: 'scale, monitoring, or both with a comma',
        unset: 'one gateway on files',
      },
      EDGE_HTTP: {
        means: 'Port outside, with an address if the server has several: 203.0.113.5:80.',
        expects: 'a port, or an address and a port',
        unset: '`80`',
      },
      EDGE_HTTPS: {
        means: 'Port outside, with an address if the server has several: 203.0.113.5:443.',
        expects: 'a port, or an address and a port',
        unset: '`443`',
      },
      EDGE_PROXY_PROTOCOL: {
        means:
          'What stands in front and hands TLS on as it is, with the PROXY protocol saying who came: an AWS network load balancer, nginx with `proxy_protocol on`, another HAProxy. All of its connections must begin so.',
        expects: 'addresses or CIDR blocks with commas between',
        unset: 'none',
      },
      STACK_NAME: {
        means:
          'Ends the names of containers and image, so that a second stack may stand on this server: with another `COMPOSE_PROJECT_NAME`, `EDGE_SUBNET`, `EDGE_HTTP` and `EDGE_HTTPS`.',
        expects: 'a short word',
        unset: '`prod`',
      },
      GATEWAY_PORT: {
        means: 'Where `docker-compose.gateway.yml` has the gateway listen.',
        expects: 'a port, or an address and a port',
        unset: '`127.0.0.1:8088`',
      },
      EDGE_SUBNET: {
        means: 'The network between Traefik and the gateway, if this one is taken.',
        expects: 'a CIDR block',
        unset: '`172.30.255.0/24`',
      },
      EDGE_CONNECTIONS_PER_ADDRESS: {
        means:
          'Connections that one client address may have open at once, an IPv6 one together with its block of /64; by each name also its requests at once.',
        expects: 'a number',
        unset: '`512`',
      },
      EDGE_CONNECTIONS: {
        means: 'All connections together: 100 KB of `TRAEFIK_MEMORY` for each; of one address up to 1.3 MB.',
        expects: 'a number',
        unset: '`4096`',
      },
      GATEWAY_MEMORY: memory('Memory of each gateway.', '1g'),
      TRAEFIK_MEMORY: memory('Memory of Traefik.', '1g'),
      HAPROXY_MEMORY: memory('Memory of HAProxy.', '256m'),
      REDIS_MEMORY: memory('Memory of Redis.', '512m'),
      REDIS_MAXMEMORY: {
        means:
          'What Redis fills of it: about five eighths, the rest is for its copies while it writes its log anew.',
        expects: 'a size such as 320mb',
        unset: '`320mb`',
      },
      PROMETHEUS_MEMORY: memory('Memory of Prometheus.', '512m'),
      GRAFANA_MEMORY: memory('Memory of Grafana.', '384m'),
      PROMETHEUS_DAYS: {
        means: 'How many days Prometheus remembers.',
        expects: 'a number',
        unset: '`30`',
      },
      PROMETHEUS_SIZE: {
        means: 'What its memory of them may take on the disk; the oldest go first.',
        expects: 'a size such as 2GB',
        unset: '`2GB`',
      },
      TRAEFIK_LOG_LEVEL: {
        means: 'From which line on the log of Traefik tells.',
        expects: 'DEBUG, INFO, WARN or ERROR',
        unset: '`INFO`',
      },
    },
  },
  {
    title: 'Development',
    settings: {
      DEV_PORT: {
        means: 'Where docker-compose.yml serves, on this machine alone.',
        expects: 'a port',
        unset: '`8088`',
        isLeftOut: true,
      },
    },
  },
]

/** @param {string} means @param {string} usual @returns {import('./words.js').Words} */
function memory(means, usual) {
  return { means, expects: 'a size such as 512m or 1g', unset: `\`${usual}\`` }
}
