import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { findNearNames, readDotenv } from '../../src/config/env/dotenv.js'
import { findMeant } from '../../src/config/env/near-names.js'
import { knownNames } from '../../src/config/env/words/words.js'

const known = knownNames()

t.test('a name that is nearly a setting is told with the setting', async (t) => {
  for (const [name, meant] of [
    ['OPENAI_KEY', 'OPENAI_API_KEY'],
    ['RATE_LIMIT', 'RATE_LIMIT_PER_MINUTE'],
    ['REDIS_URI', 'REDIS_URL'],
    ['DATABASE_URI', 'DATABASE_URL'],
    ['OPENAI_API_BASE', 'OPENAI_BASE_URL'],
    ['OPENAI_URL', 'OPENAI_BASE_URL'],
    ['DEEPSEEK_KEY', 'DEEPSEEK_API_KEY'],
    ['FREE_OPENAI_API_KEY', 'FREE_OPENAI_KEY'],
    ['openai_api_key', 'OPENAI_API_KEY'],
    ['OPENAI-API-KEY', 'OPENAI_API_KEY'],
    ['OPENAI_KEY_FILE', 'OPENAI_API_KEY_FILE'],
    ['ADMIN_FRIST', 'ADMIN_FIRST'],
    ['ACME_MAIL', 'ACME_EMAIL'],
    ['TRUSTED_PROXY', 'TRUSTED_PROXIES'],
    ['CORS_ORIGINS', 'CORS_ALLOWLIST'],
    ['IDLE_TIMEOUT', 'IDLE_TIMEOUT_MS'],
    ['MODEL_FILE', 'MODELS_FILE'],
    ['GROK_API_KEY', 'XAI_API_KEY'],
    ['CLAUDE_KEY', 'ANTHROPIC_API_KEY'],
    ['RATE_LIMIT_PER_MIN', 'RATE_LIMIT_PER_MINUTE'],
    ['LOG_LEVELS', 'LOG_LEVEL'],
    ['JWT_SECERT', 'JWT_SECRET'],
    ['JWT_SECRET_KEY', 'JWT_SECRET'],
    ['JWKS_URI', 'JWT_JWKS_URL'],
    ['INTERNAL_KEY', 'INTERNAL_API_KEY'],
    ['INTERNAL_API_URL', 'INTERNAL_API_BASE_URL'],
    ['QUERY_API_KEY', 'QUERY_API_KEYS'],
    ['USERS_SERVICE_URLS', 'USERS_SERVICE_URL'],
    ['USER_SERVICE_URI', 'USER_SERVICE_URL'],
    ['USER_SERVICES_URL', 'USER_SERVICE_URL'],
    ['BIG_USER_SERVICE_BASE_URL', 'BIG_USER_SERVICE_URL'],
    ['user_service_url', 'USER_SERVICE_URL'],
    ['USER_SERVICE_PUBLICS', 'USER_SERVICE_PUBLIC'],
    ['USER_SERVICE_URL_FILE', 'USER_SERVICE_URL'],
  ] as const)
    t.equal(findMeant(name, known), meant, name)
})

t.test("other programs' names are left alone", async (t) => {
  const others = [
    ...['NODE_ENV', 'NODE_OPTIONS', 'PATH', 'HOME', 'HOSTNAME', 'LANG', 'TZ', 'USER', 'SHELL', 'PWD', 'TERM'],
    ...['REDIS_HOST', 'REDIS_PORT', 'REDIS_PASSWORD', 'REDIS_PORT_6379_TCP', 'API_GATEWAY_SERVICE_PORT'],
    ...['DB_HOST', 'DB_NAME', 'DB_USER', 'DB_PORT', 'DATABASE_NAME', 'POSTGRES_PASSWORD', 'POSTGRES_URL'],
    ...[
      'OPENAI_API_KEY_2',
      'OPENAI_API_KEY_BACKUP',
      'OPENAI2_API_KEY',
      'ZAI_API_KEY',
      'COHERE_API_KEY',
      'BACKUP_API_KEY',
    ],
    ...[
      'OPENAI_ORG_ID',
      'OPENAI_PROJECT',
      'JWT_SECRET',
      'INTERNAL_API_KEY',
      'NEXT_PUBLIC_API_URL',
      'PAYMENT_SERVICE_URL',
    ],
    ...[
      'ANY_NAME_SERVICE_URL',
      'ANY_SERVICE_PUBLIC',
      'AUTH_URL',
      'USER_URL',
      'NEXTAUTH_URL',
      'SERVICE_URL',
      'USER_DEVICE_URL',
    ],
    ...[
      'USER_SERVICE_HOST',
      'USER_SERVICE_PORT',
      'USER_SERVICE_PORT_HTTP',
      'JWT_EXPIRES_IN',
      'JWT_REFRESH_SECRET',
    ],
    ...[
      'LOG_FILE',
      'LOG_FORMAT',
      'AWS_REGION',
      'DEBUG',
      'PORTS',
      'DOMAINS',
      'COMPOSE_PROJECT_NAME',
      'TMPDIR',
      'MAIL_FROM',
    ],
    ...[
      'GIT_PAGER',
      'KUBERNETES_PORT',
      'KUBERNETES_SERVICE_HOST',
      'npm_config_cache',
      'HTTPS_PROXY',
      'SSL_CERT_FILE',
    ],
  ]
  for (const name of others) t.equal(findMeant(name, known), undefined, name)
})

t.test(
  'in .env it is a mistake, unless it is empty, the setting has a value, or the models file names it',
  async (t) => {
    const folder = t.testdir({ 'models.yaml': 'providers: { own: { keyEnv: OPENAI_KEY } }' })
    const path = join(folder, '.env')
    const mistakesOf = (text: string, env: Record<string, string> = {}) => {
      writeFileSync(path, text)
      return readDotenv(path, env)?.mistakes
    }
    t.match(mistakesOf('OPENAI_API_KEY=\n\nOPENAI_KEY=sk-1'), [
      /^line 3, OPENAI_KEY: is no setting, did you mean OPENAI_API_KEY/,
    ])
    t.match(mistakesOf('DOMAIN6=a.example'), [
      /^line 1, DOMAIN6: is no setting: the edge has DOMAIN1 to DOMAIN5/,
    ])
    t.match(mistakesOf('LOG_LEVEL_FILE=x'), [/^line 1, LOG_LEVEL_FILE: is no setting: no file is read/])
    t.same(mistakesOf('OPENAI_KEY='), [])
    t.same(mistakesOf('OPENAI_KEY=sk-1\nOPENAI_API_KEY=sk-2'), [])
    t.same(mistakesOf('OPENAI_KEY=sk-1', { OPENAI_API_KEY: 'sk-2' }), [])
    t.same(mistakesOf('OPENAI_KEY=sk-1\nMODELS_FILE=models.yaml'), [])
    t.equal(readDotenv(join(folder, 'none'), {}), undefined)
  },
)

t.test('a key that the models file names is read as strictly as a setting', async (t) => {
  for (const models of [
    'providers: { own: { keyEnv: OWN_KEY } }',
    '{"providers":{"own":{"keyEnv":"OWN_KEY"}}}',
  ]) {
    const folder = t.testdir({ 'models.yaml': models })
    const path = join(folder, '.env')
    const read = (line: string) => {
      writeFileSync(path, `${line}\nMODELS_FILE=models.yaml\nOTHER_KEY=abc$def\n`)
      return readDotenv(path, {})
    }
    t.match(read('OWN_KEY=abc$def')?.mistakes, [/^line 1, OWN_KEY: Compose replaces/])
    t.match(read('OWN_KEY="abc')?.mistakes, [/^line 1, OWN_KEY: its quote is not closed/])
    t.same(read('OWN_KEY=abc')?.mistakes, [])
  }
})

t.test('what Kubernetes says of a service is near to no setting', async (t) => {
  t.same(findNearNames({ API_PORT: 'tcp://10.43.0.5:80' }), [])
  t.match(findNearNames({ API_PORT: '8088' }), [/^API_PORT is no setting/])
})
