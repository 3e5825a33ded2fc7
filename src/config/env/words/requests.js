// @ts-check

/** @type {readonly import('./words.js').Group[]} */
export const requestWords = [
  {
    title: 'Answers that are kept',
    intro:
      "For a day under the clients' Idempotency-Keys: beside the balances, the large ones in `DB_DIR/answers` or PostgreSQL. In Redis at most a quarter of its memory.",
    settings: {
      IDEMPOTENCY_BYTES_PER_TOKEN: { means: 'Bytes of one token. `0`: none is kept.' },
      IDEMPOTENCY_BYTES: { means: 'Bytes in all. `0`: none is kept.' },
      IDEMPOTENCY_KEYS_PER_TOKEN: {
        means: 'Keys of one token within a day; then a new one is refused.',
      },
    },
  },
  {
    title: 'Room for what clients send',
    intro: 'In bytes. See [Large bodies](client-api.md#large-bodies).',
    settings: {
      MAX_JSON_BYTES: { means: 'A JSON body, decoded. At most half of `BODY_MEMORY_BYTES`.' },
      BODY_MEMORY_BYTES: {
        means: 'All bodies that are in memory at once.',
        unset: "a quarter of the container's memory limit, else of the machine's memory, at most 4 GiB",
      },
      SPOOL_BYTES: {
        means:
          'All uploads in the temporary folder (`TMPDIR`) at once, whose file stands before their model.',
        unset: 'half of what is free there at the start, at most 16 GiB',
      },
    },
  },
  {
    title: 'Patience',
    intro: 'In milliseconds, without a unit: `30000`, not `30s`.',
    settings: {
      CONNECT_TIMEOUT_MS: { means: "Until a provider's connection stands." },
      ANSWER_TIMEOUT_MS: {
        means:
          'Until a whole answer of a provider is here; keep-alive blanks do not extend it. This and the next three also stand per provider and model in `MODELS_FILE`.',
      },
      FIRST_BYTE_TIMEOUT_MS: {
        means: "Until a stream's first byte: models think. Also until the head of a service's answer.",
      },
      IDLE_TIMEOUT_MS: { means: 'How long a stream may be silent after it; comments count as life.' },
      TOTAL_TIMEOUT_MS: {
        means:
          'One request, all its providers together. In production 1200000 at most: the edge waits no longer.',
      },
      SSE_HEARTBEAT_MS: {
        means:
          "A silent stream gets a comment (Anthropic's dialect: a `ping`) so often, for proxies that cut what says nothing.",
      },
      BODY_TIMEOUT_MS: {
        means:
          "Until a client's JSON body has arrived, and how long an upload, or a body that is handed on, may pause.",
      },
      KEEP_ALIVE_MS: {
        means:
          "How long a client's connection may be idle. Longer than the proxy or load balancer in front keeps it, or a request meets a closing one: 502 now and then.",
      },
      WS_IDLE_TIMEOUT_MS: { means: "Until a WebSocket's side that answers no ping is given up." },
      DRAIN_TIMEOUT_MS: {
        means:
          'How long running requests may go on after SIGTERM. In production with the delay, which is 5000 at least in an update, 40000 at most: Docker ends the container after 45 s.',
      },
      DRAIN_DELAY_MS: {
        means:
          'How long to serve on after SIGTERM while `/ready` says 503: an edge with several gateways sees it leave.',
        unset: '`0`, with `REDIS_URL` `5000`',
      },
    },
  },
  {
    title: 'The way out',
    intro: 'See [Behind a proxy](proxy.md). Small letters (`https_proxy`) win, as for curl.',
    settings: {
      HTTPS_PROXY: {
        means: 'The proxy of https and wss targets.',
        expects: 'http://user:password@proxy.example.com:3128 or https://...',
        unset: 'none',
        also: ['https_proxy'],
        isSecret: true,
      },
      HTTP_PROXY: {
        means: 'The proxy of http and ws targets.',
        expects: 'http://user:password@proxy.example.com:3128 or https://...',
        unset: 'none',
        also: ['http_proxy'],
        isSecret: true,
      },
      NO_PROXY: {
        means: 'What is reached without it.',
        expects: 'example.com (and all below), 10.0.0.0/8, host:8080 or *, with commas between',
        unset: 'this machine, and services of private names and addresses',
        also: ['no_proxy'],
      },
      NODE_EXTRA_CA_CERTS: {
        means: "Authorities to trust besides Node's own, for every TLS of the gateway.",
        expects: 'a PEM file',
        unset: 'none',
      },
    },
  },
]
