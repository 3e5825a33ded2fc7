import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { SecretFiles } from '../src/config/env/secret-files.ts'
import { FollowedSecrets, secretsOf } from '../src/followed-secrets.ts'
import { temporaryFolder } from './support/gateway.ts'
import { waitUntil } from './support/journey.ts'

const OLD = 'the-old-secret-by-which-jwts-are-signed'
const NEW = 'the-new-secret-by-which-jwts-are-signed'

t.test('what verifies JWTs stays the same object until it is another one', async (test) => {
  const folder = temporaryFolder(test)
  const put = (name: string, text: string): void => writeFileSync(join(folder, name), text)
  put('jwt', OLD)
  put('key', 'the-old-internal-key')
  const env = { JWT_SECRET_FILE: join(folder, 'jwt'), INTERNAL_API_KEY_FILE: join(folder, 'key') }
  const secrets = new FollowedSecrets(new SecretFiles(env))
  test.teardown(() => secrets.close())
  const hidden: string[] = []
  const silent = { info: () => {}, error: () => {}, warn: () => {} }
  const catalog = {
    current: () => ({ providers: new Map() }),
    renew: () => {},
    reload: () => {},
    close: () => {},
  }
  const users = {
    log: { logger: silent, hide: (texts: string[]) => hidden.push(...texts) },
    catalog,
    stores: { tokens: {}, renew: () => {} },
    keyChanged: () => {},
  }
  secrets.watch(users as never)
  const { jwt, internalKey } = secrets.settings()
  const first = jwt()
  test.equal(first?.secret, OLD)
  put('key', 'the-new-internal-key')
  await waitUntil(
    async () => internalKey(),
    (key) => key === 'the-new-internal-key',
  )
  test.equal(jwt(), first, 'whoever has verified by it keeps what it knows')
  put('jwt', NEW)
  await waitUntil(
    async () => jwt()?.secret,
    (secret) => secret === NEW,
  )
  test.not(jwt(), first)
  test.ok([NEW, 'the-new-internal-key'].every((secret) => hidden.includes(secret)))
  test.same(secretsOf(secrets.settings()).toSorted(), [NEW, 'the-new-internal-key'].toSorted())
})
