import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from './shell.ts'

/** Its address and its clients' addresses: on the loopback interface, of a block that is for tests alone. */
export const EDGE_ADDRESS = '198.18.5.1'
export const CLIENT_ADDRESSES = ['198.18.5.7', '198.18.5.8']
/** Where a name points that was set up wrongly: also on the loopback interface, but nobody listens there. */
export const WRONG_ADDRESS = '198.18.5.9'
export const EDGE_SUBNET = '198.18.6.0/24'
/** The Node image made for tests where the public one cannot be pulled. */
export const TEST_NODE_IMAGE = 'gateway-edge-test-node'
/** Debian's Python, likewise. */
export const TEST_PYTHON_IMAGE = 'gateway-edge-test-python'

/** The Compose project of every stack of this suite. */
export const PROJECT = 'gateway-edge-test'
const NAMES = ['api-gateway', 'certificates', 'haproxy', 'traefik', 'redis', 'prometheus', 'grafana'].map(
  (name) => `${name}-prod`,
)
const ROOT = join(import.meta.dirname, '..', '..', '..')

/** Every Compose at hand, as command and first arguments. */
export async function findComposes(): Promise<string[][]> {
  const named = (process.env.EDGE_COMPOSE ?? '').split(':').filter(Boolean)
  const candidates = [['docker-compose'], ['docker', 'compose'], ...named.map((path) => [path])]
  const found: string[][] = []
  for (const candidate of candidates) {
    const [command = '', ...first] = candidate
    if ((await run(command, [...first, 'version', '--short'])).code === 0) found.push(candidate)
  }
  return found
}

/** Why the edge cannot be run on this machine, in one line; undefined where it can. */
export async function whyNoEngine(): Promise<string | undefined> {
  const missing = (await run('sh', ['-c', 'command -v pebble pebble-challtestsrv'])).code !== 0
  if (missing) return 'no pebble or pebble-challtestsrv here: the edge itself is not tested'
  return (await whyNotNow()) ?? (await whyNoContainers())
}

/** Why no part of the edge can be run, even one that has other names than a project of production. */
export async function whyNoContainers(): Promise<string | undefined> {
  const info = await run('docker', ['info', '--format', '{{.ServerVersion}}'])
  if (info.code !== 0) return 'no Docker engine answers: the edge itself is not tested here'
  if ((await findComposes()).length === 0) return 'no Compose here: the edge itself is not tested'
  if (process.getuid?.() !== 0) return 'not root: test addresses cannot be set up, the edge is not tested'
  if ((await run('sh', ['-c', 'command -v ip'])).code !== 0)
    return 'no ip here (apt-get install iproute2): the edge itself is not tested'
  return await whyNoImage([imageOf('traefik'), imageOf('haproxy'), await baseImage()])
}

/** Why these images of production cannot be run. */
export const whyNoImages = (...names: string[]): Promise<string | undefined> => whyNoImage(names.map(imageOf))

async function whyNoImage(images: readonly string[]): Promise<string | undefined> {
  for (const image of images) {
    const known = (await run('docker', ['image', 'inspect', image])).code === 0
    if (!known && (await run('docker', ['pull', '-q', image])).code !== 0)
      return `image ${image} can be had nowhere: what needs it is not tested`
  }
  return undefined
}

async function whyNotNow(): Promise<string | undefined> {
  const format = '{{.Names}} {{.Label "com.docker.compose.project"}}'
  const { stdout } = await run('docker', ['ps', '-a', '--format', format])
  const all = stdout.split('\n').map((line) => line.split(' '))
  // What a killed run of this suite has left is taken down before the next stack.
  const running = all.flatMap(([name = '', project]) =>
    NAMES.includes(name) && project !== PROJECT ? [name] : [],
  )
  if (running.length > 0) return `${running.join(', ')} exists here: not touched, the edge is not tested`
  return undefined
}

/** The image of a service of production that is not built here, by its tag. */
const imageOf = (name: string): string => {
  const file = readFileSync(join(ROOT, 'docker-compose.prod.yml'), 'utf8')
  return new RegExp(`image: (${name}:[^\\s@]+)`).exec(file)?.[1] ?? ''
}

/** The public image that the Dockerfile builds on, by its tag: a stand-in has no registry's digest. */
export const pinnedImage = (): string =>
  /NODE_IMAGE=([^\s@]+)/.exec(readFileSync(join(ROOT, 'Dockerfile'), 'utf8'))?.[1] ?? ''

/** Whether local images stand in for the public ones; they have a tag and no registry's digest. */
export const hasStandIns = async (): Promise<boolean> => (await baseImage()) !== pinnedImage()

/** The pinned image, or a local stand-in of the same major. */
async function baseImage(): Promise<string> {
  const standIn = pinnedImage().replace(/:(\d+)[.\d]*-/, ':$1-')
  const local = await run('docker', ['image', 'inspect', '-f', '{{.Config.Labels.standin}}', standIn])
  return local.stdout.trim() === '1' ? standIn : pinnedImage()
}

/**
 * What `NODE_IMAGE` must be for the Dockerfile to build here; undefined: as it stands. A stand-in lacks only the
 * addresses of Debian's packages, which it gets from this machine.
 */
export async function nodeImage(): Promise<string | undefined> {
  const base = await baseImage()
  if (base === pinnedImage()) return undefined
  const sources = '/etc/apt/sources.list.d/debian.sources'
  if (!existsSync(sources)) return base
  const file = `FROM ${base}\nCOPY debian.sources ${sources}\n`
  const context = `d=$(mktemp -d) && cp ${sources} $d && printf '%s' "$FILE" > $d/Dockerfile`
  const build = `docker build -q -t ${TEST_NODE_IMAGE} $d && rm -r $d`
  const made = await run('sh', ['-ec', `${context} && ${build}`], {
    env: { FILE: file, DOCKER_BUILDKIT: '0' },
  })
  if (made.code !== 0) throw new Error(made.stderr)
  return TEST_NODE_IMAGE
}
