import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startByteBackend } from '../support/byte-backend.ts'
import { startGateway, temporaryFolder } from '../support/gateway.ts'
import { openJwksServer } from '../support/jwks-server.ts'
import { jwkOf, makeJwt, RSA, SECRET } from '../support/jwt.ts'

const NEXT = 'the next secret of thirty-two characters'

t.test('a running gateway takes another secret, and the keys of a server while that is away', async (t) => {
  const backend = await startByteBackend(t)
  const keys = await openJwksServer(t)
  const path = join(temporaryFolder(t, 'gw-secret-'), 'jwt')
  writeFileSync(path, SECRET)
  const gateway = await startGateway(t, {
    env: {
      PASSTHROUGH_PATHS: `/svc=${backend.origin}!insecure!jwt`,
      JWT_SECRET_FILE: path,
      JWT_JWKS_URL: keys.url,
      JWT_AUDIENCE: 'svc',
      HTTP_PROXY: '',
    },
  })
  const claims = { sub: 'ann', aud: 'svc', exp: Math.floor(Date.now() / 1000) + 600 }
  const ask = async (jwt: string): Promise<number> => {
    const answer = await fetch(`${gateway.url}/svc/a`, { headers: { authorization: `Bearer ${jwt}` } })
    await answer.text()
    return answer.status
  }
  const old = makeJwt({ claims })
  const next = makeJwt({ claims, key: NEXT })
  const published = makeJwt({
    header: { alg: 'RS256', kid: 'a' },
    claims,
    algorithm: 'RS256',
    key: RSA.privateKey,
  })
  const another = makeJwt({ claims: { ...claims, sub: 'bob' }, algorithm: 'RS256', key: RSA.privateKey })
  await keys.goAway()
  t.equal(await ask(old), 200, 'a secret needs no server')
  t.equal(await ask(published), 503)
  await gateway.waitForLine(({ msg }) => msg === 'keys of JWTs cannot be read')
  await keys.comeBack()
  keys.say({ keys: [jwkOf(RSA.publicKey, { kid: 'a' })] })
  await gateway.waitForLine(({ status, error }) => status === 503 && error === 'store_unavailable')
  await t.resolves(until(async () => (await ask(published)) === 200))
  t.equal(await ask(next), 401)
  writeFileSync(path, NEXT)
  await gateway.waitForLine(({ msg }) => String(msg).startsWith('secrets re-read'))
  t.equal(await ask(next), 200)
  t.equal(await ask(old), 401, 'also whose JWT was good before')
  await keys.goAway()
  t.equal(await ask(published), 200)
  t.equal(await ask(another), 200, 'by the keys from before')
  t.equal(backend.seen.at(-1)?.field('x-user-id'), 'bob')
  for (const secret of [SECRET, NEXT, old, published]) t.notOk(gateway.stdout().includes(secret))
})

/** A set that could not be fetched is asked for again after a second. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  const patience = Date.now() + 10_000
  while (!(await isSo())) if (Date.now() > patience) throw new Error('in vain')
}
