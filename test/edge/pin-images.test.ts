import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { clone, fillIn, settingsOf } from './support/deployment.ts'
import { findComposes } from './support/engine.ts'
import { type Registry, startRegistry } from './support/registry.ts'
import { render } from './support/rendered.ts'
import { run } from './support/shell.ts'

const FILES = ['Dockerfile', 'docker-compose.prod.yml', 'docker-compose.yml']
const IMAGE = /^(ARG \w+_IMAGE=| *image: )([^\s$"@]+)(@sha256:\w+)?$/gm
const reason = (await run('docker', ['info'])).code === 0 ? undefined : 'no Docker engine answers here'
if (reason !== undefined) t.plan(0, reason)
else await t.test('images are named by digest as well as by tag', testPins)

async function testPins(t: Test) {
  const registry = await startRegistry(t)
  const folder = await clone(t)
  const images = moveTo(registry, folder)
  const pin = (...args: string[]) => run('sh', ['scripts/pin-images.sh', ...args], { cwd: folder })
  const texts = () => FILES.map((file) => readFileSync(join(folder, file), 'utf8')).join('\n')
  t.teardown(() => run('docker', ['rmi', '-f', ...images.map((image) => `${registry.host}/${image}`)]))
  t.ok(images.length >= 3, `${images}`)

  await t.test('a registry that has nothing changes nothing, and says so', async (t) => {
    const before = texts()
    const { code, stderr } = await pin()
    t.equal(code, 1)
    for (const image of images) t.match(stderr, `${registry.host}/${image}: no registry gave its digest`)
    t.equal(texts(), before)
    t.match(await pin('--check'), { code: 1, stdout: /^- named by tag alone: .*sh scripts\/pin-images\.sh/ })
  })

  const digests = new Map(images.map((image) => [image, registry.push(image, `first ${image}`)]))
  await t.test('each one gets the digest that its registry names, wherever it is used', async (t) => {
    t.equal((await pin()).code, 0)
    const found = [...texts().matchAll(IMAGE)].filter(([, , name]) => name !== 'api-gateway')
    for (const [image, digest] of digests) t.match(texts(), `${registry.host}/${image}@${digest}`)
    t.ok(found.every(([, , name, digest]) => /^api-gateway:/.test(name ?? '') || digest !== undefined))
    t.match(await pin('--check'), { code: 0, stdout: '' })
    const pinned = texts()
    t.equal((await pin()).code, 0)
    t.equal(texts(), pinned, 'once is enough')
  })

  await t.test('Docker pulls what is written, and every Compose reads it', async (t) => {
    for (const [image, digest] of digests)
      t.equal((await run('docker', ['pull', '-q', `${registry.host}/${image}@${digest}`])).code, 0, image)
    fillIn(folder, settingsOf('https://authority.example.test/dir'), '.env.example')
    for (const compose of await findComposes()) {
      const { services } = await render(compose, folder, 'docker-compose.prod.yml')
      t.match(services.traefik?.image, /traefik:v3\.\d+\.\d+@sha256:[0-9a-f]{64}$/)
    }
  })

  await t.test('a tag that was built anew gets its new digest', async (t) => {
    const [image = ''] = images
    const digest = registry.push(image, 'second')
    t.equal((await pin()).code, 0)
    t.match(texts(), `${registry.host}/${image}@${digest}`)
    t.notMatch(texts(), digests.get(image) ?? 'no digest')
  })
}

/** The files as if this registry were the public one; returns the images' names in it. */
function moveTo({ host }: Registry, folder: string): string[] {
  const images = new Set<string>()
  for (const file of FILES) {
    const text = readFileSync(join(folder, file), 'utf8')
    const moved = text.replace(IMAGE, (line, before: string, image: string) => {
      if (image.startsWith('api-gateway:')) return line
      images.add(image)
      return `${before}${host}/${image}`
    })
    writeFileSync(join(folder, file), moved)
  }
  return [...images]
}
