// @ts-check

/** @type {readonly import('./words.js').Group[]} */
export const serviceWords = [
  {
    title: 'Your own services',
    intro:
      'Rows of the table of routes; a file may say more of each (`services` in `MODELS_FILE`). See [Services](services.md). Behind any address here: `!open`, `!jwt`, `!any`, `!token` (who may enter), `!cookies`.',
    settings: {
      PASSTHROUGH_PATHS: {
        means:
          'Paths that are handed on unmetered, to a provider or to a service, behind the same tokens and limits. Plain HTTP to another machine wants `!insecure` at the end.',
        expects:
          '/v1/files, /v1/files=openai or /api=https://backend.example.com/api!open, with commas between',
        unset: 'none',
      },
      WS_ROUTES: {
        means:
          'WebSockets of services. `{session_id}`, as the last part of the path or as `?session_id={session_id}`, says where the service wants what clients may send in either way.',
        expects:
          '/ws=ws://backend:8000/ws or /ws=ws://backend:8000/ws/{session_id}!open, with commas between',
        unset: 'none',
      },
      INTERNAL_API_BASE_URL: {
        means:
          'An API of yours for whoever has a token: `/proxy/*` goes there, with the rest of the path and the query.',
        expects: 'http://internal-api:8000, several with commas between',
        unset: 'none',
      },
      QUERY_API_KEYS: {
        means:
          'Routes, by name, whose callers may send their token as `?api_key=`; it is taken out of what goes on and of the log. Everywhere else it is refused.',
        expects: 'proxy, or names of rows with commas between',
        unset: 'none',
      },
      AUTH_SERVICE_URL: {
        means:
          'Where a service of yours is: this one at `/api/auth/*` and its plural. Any other name likewise: `<NAME>_SERVICE_URL` is `/api/<name>/*`, `_` becomes `-`. It is asked for what follows: `/42` of `/api/auth/42`; one that wants the whole path has it in its URL. Whoever has a JWT or a token may enter.',
        expects: 'http://auth-service:5001, several with commas between',
        unset: 'none',
      },
      ...Object.fromEntries(
        ['USER', 'JOB', 'PAYMENT', 'MESSAGING', 'REVIEW'].map((name) => [
          `${name}_SERVICE_URL`,
          { means: '', expects: 'the same', unset: 'none' },
        ]),
      ),
      AUTH_SERVICE_PUBLIC: {
        means:
          'What of a service anybody may ask for, without a credential: `<NAME>_SERVICE_PUBLIC` of each. Paths below the public one: `/login` is `/api/auth/login`.',
        expects: '/login, POST /register or /public/*, with commas between',
        unset: 'nothing',
      },
      ...Object.fromEntries(
        ['USER', 'JOB', 'PAYMENT', 'MESSAGING', 'REVIEW'].map((name) => [
          `${name}_SERVICE_PUBLIC`,
          { means: '', expects: 'the same', unset: 'nothing' },
        ]),
      ),
      INTERNAL_API_KEY: {
        means:
          "By this key, in `x-internal-api-key`, services know that the gateway asks; a client's own is dropped. Needed with any `<NAME>_SERVICE_URL`. `openssl rand -hex 32` makes one.",
        expects: 'at least 16 characters',
        unset: 'none',
        isSecret: true,
      },
      JWT_SECRET: {
        means: 'JWTs signed by HS256 are verified by it. `openssl rand -hex 32` makes one.',
        expects: 'at least 32 characters',
        unset: 'none',
        isSecret: true,
      },
      JWT_SECRET_PREVIOUS: {
        means:
          'The one before `JWT_SECRET`, good beside it until the JWTs signed by it have run out; then it is taken away.',
        expects: 'at least 32 characters',
        unset: 'none',
        isSecret: true,
      },
      JWT_PUBLIC_KEY: {
        means:
          'JWTs signed by RS256, ES256 or EdDSA are verified by it. In one line each line break is `\\n`; a file has it as it is.',
        expects: 'a PEM (-----BEGIN PUBLIC KEY-----) or a JWK',
        unset: 'none',
        isSecret: true,
      },
      JWT_JWKS_URL: {
        means: 'The same, by the keys that the issuer publishes.',
        expects: 'https://login.example.com/.well-known/jwks.json',
        unset: 'none',
      },
      JWT_ISSUER: {
        means: 'Whose JWTs count: their `iss` is one of these.',
        expects: 'https://login.example.com/, with commas between',
        unset: "anybody's",
      },
      JWT_AUDIENCE: {
        means: 'For whom they must be made: one of these is in their `aud`.',
        expects: 'my-api, with commas between',
        unset: 'for anybody',
      },
      JWT_CLOCK_TOLERANCE_S: {
        means: 'By so many seconds the clocks of the issuer and the gateway may differ.',
      },
      SERVICE_REQUESTS_PER_MINUTE: {
        means:
          'Requests per person or, without a credential, client address and minute, on each route without a limit of its own.',
      },
    },
  },
]
