// @ts-check

/** @type {readonly import('./words.js').Group[]} */
export const gatewayWords = [
  {
    title: 'The gateway',
    settings: {
      PORT: {
        means: 'Port to listen on. `API_GATEWAY_PORT` is read too, `PORT` wins.',
        also: ['API_GATEWAY_PORT'],
      },
      HOST: { means: 'Address to listen on.' },
      ADMIN_FIRST: {
        means: 'Master token. Empty: one is made on the first start and printed once.',
        expects: 'at least 16 characters',
        unset: 'made on the first start',
        isSecret: true,
      },
      METRICS_KEY: {
        means:
          'With this key Prometheus reads `/metrics`, also while no store answers; a file is read anew each time.',
        expects: 'at least 16 characters',
        unset: 'tokens of the type `admin` alone',
        isSecret: true,
      },
      DB_DIR: { means: 'Folder of tokens, balances and usage, made with mode 0700.' },
      USAGE_DAYS: {
        means:
          'For so many days each request keeps its usage row; older ones become one row a day, after 400 days one a month, for each token, model, provider, endpoint and status. See [Usage rows](usage.md#how-long-they-are-kept).',
        expects: 'a whole number from 2 to 99999, or off',
      },
      STORE_TAKEOVER: {
        means:
          'With `on` this server works on the files of the one that has `DB_DIR`, and has them once that one has ended: an update without a refusal. `off`: a second server is refused.',
      },
      LOG_DIR: { means: 'Folder of the log files, made with mode 0700.' },
      LOG_LEVEL: { means: 'From which line on the log tells.' },
    },
  },
  {
    title: 'Several replicas',
    intro:
      'Tokens, balances, holds and limits in Redis instead of files. See [Several replicas](replicas.md).',
    settings: {
      REDIS_URL: {
        means:
          'Where Redis is; `rediss://` is TLS. What of a password is not a letter or digit is percent-encoded.',
        expects:
          'redis://user:password@host:6379/0, redis-sentinel://host:26379,host:26379/primary-name or redis-cluster://host:6379,host:6379',
        unset: 'files in `DB_DIR`',
        isSecret: true,
      },
      REDIS_PREFIX: { means: 'Before every key: deployments that share a Redis differ in it.' },
      REPLICA_TIMEOUT_MS: {
        means: 'Without a sign of life for so long a replica is dead, and its holds are settled.',
      },
      DATABASE_URL: {
        means: 'With `REDIS_URL`: PostgreSQL for the usage rows.',
        expects: 'postgres://user:password@host/database',
        unset: '`usage.sqlite` in `DB_DIR`',
        isSecret: true,
      },
      USAGE_QUEUE_ROWS: {
        means:
          'Usage rows (about 700 bytes each) that wait in Redis while their database is down; then the oldest are dropped.',
      },
      REDIS_MEMORY_BYTES: {
        means: 'What Redis may use: from 85 % on nothing is kept that can be left out.',
        unset: "Redis's own `maxmemory`",
      },
    },
  },
  {
    title: 'Who may come in',
    settings: {
      TRUSTED_PROXIES: {
        means: 'Your own proxies, whose `X-Forwarded-*` is believed.',
        expects: 'addresses or CIDR blocks with commas between, such as 172.16.0.0/12',
        unset: 'none',
      },
      CORS_ALLOWLIST: {
        means:
          'Browser pages that may call. A `*` stands for letters, digits and dashes within the first label: `https://my-app-*.vercel.app`. Where anybody can have such a name, the log warns who may call then.',
        expects: 'origins with commas between, such as https://app.example.com,https://*.example.com',
        unset: 'none',
      },
      RATE_LIMIT_PER_MINUTE: {
        means:
          "Requests per token and minute; a token's own limit wins. Counting tokens is not counted up to ten times as many, and at least 1,000 a minute.",
      },
      RATE_LIMIT_PER_DAY: {
        means: "Requests per token and day, until midnight UTC; a token's own limit wins.",
        unset: 'no limit',
      },
      FORWARD_HEADERS: {
        means: "What else of a client's headers providers see.",
        expects: 'traceparent, tracestate, baggage, user-agent, with commas between',
        unset: 'none',
      },
      UNAUTHENTICATED_PER_MINUTE: {
        means:
          'Requests without a valid token, per client address and minute. `!open` sockets count too, and WebSocket handshakes that are refused before anybody asked for a token.',
      },
      IPV6_PREFIX_BITS: {
        means:
          'So many first bits of an IPv6 address are one client where addresses are counted, since a client may choose the rest. Address lists of tokens look at all of it.',
      },
    },
  },
  {
    title: 'What is served',
    settings: {
      MODELS_FILE: {
        means:
          'Models, plans, prices, further providers and services, as YAML or JSON; read again on change and on SIGHUP.',
        unset: 'the built-in catalog',
      },
      WS_SOCKETS_PER_TOKEN: {
        means:
          'WebSockets that one token may have open in each process, also with Redis (`--inFlight` counts in all replicas); without a token: one client address.',
      },
    },
  },
]
