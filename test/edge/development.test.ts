import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { unusedPort } from '../support/ports.ts'
import { clone } from './support/deployment.ts'
import { nodeImage, whyNoEngine } from './support/engine.ts'
import { poll, shell } from './support/shell.ts'

const reason = await whyNoEngine()
if (reason !== undefined) t.plan(0, reason)
else {
  await t.test('development: one command, on localhost, reloaded at each change', testReload)
  await t.test('development with Redis: the gateway keeps its tokens there', testRedis)
}

interface Development {
  folder: string
  /** `docker-compose <line>` in the clone. */
  compose(line: string): Promise<string>
  mint(): Promise<string>
  /** A chat call to the demo model. */
  chat(token: string): Promise<Response>
  /** What `/health` says, once anything answers. */
  health(): Promise<string | undefined>
}

async function openDevelopment(t: Test, env: Record<string, string> = {}): Promise<Development> {
  const folder = await clone(t)
  const port = await unusedPort()
  const image = await nodeImage()
  const args = image === undefined ? {} : { args: { NODE_IMAGE: image } }
  const services = { development: { build: { context: '.', ...args } } }
  writeFileSync(join(folder, 'build.json'), JSON.stringify({ services }))
  writeFileSync(join(folder, '.env'), '')
  const command = 'docker-compose -p gateway-edge-development -f docker-compose.yml -f build.json'
  const where = { cwd: folder, env: { DEV_PORT: String(port), DOCKER_BUILDKIT: '0', ...env } }
  const compose = (line: string) => shell(`${command} ${line}`, where)
  t.teardown(() => compose('--profile redis down -v -t 10; docker rmi -f api-gateway:development'))
  const url = `http://127.0.0.1:${port}`
  const mint = () =>
    compose('exec -T development node scripts/token-gen.js --type user --userName me --token 1000')
  return {
    folder,
    compose,
    mint: () => poll('a token', () => mint().catch(() => undefined)),
    chat: (token) =>
      fetch(`${url}/v1/chat/completions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'demo', messages: [{ role: 'user', content: 'Hello!' }] }),
      }),
    health: () =>
      fetch(`${url}/health`).then(
        (reply) => reply.text(),
        () => undefined,
      ),
  }
}

async function testReload(t: Test) {
  const { folder, compose, mint, chat, health } = await openDevelopment(t)
  await compose('up -d --build')
  t.match(await poll('the gateway', health), 'ok')
  t.equal((await chat(await mint())).status, 200, 'the demo model answers without any key')
  await shell(`sed -i "s/status: 'ok'/status: 'changed'/" ${join(folder, 'src/entrance/health.ts')}`)
  await poll('the change', async () => ((await health())?.includes('changed') ? true : undefined))
}

async function testRedis(t: Test) {
  const { compose, mint, chat, health } = await openDevelopment(t, {
    REDIS_URL: 'redis://development-redis:6379',
  })
  await compose('--profile redis up -d --build')
  t.match(await poll('the gateway', health), 'ok')
  t.equal((await chat(await mint())).status, 200)
  t.match(await compose('--profile redis exec -T development-redis redis-cli --scan'), /gateway/)
}
