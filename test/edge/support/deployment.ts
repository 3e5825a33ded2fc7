import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { temporaryFolder } from '../../support/gateway.ts'
import type { Owner } from '../../support/waiting.ts'
import { EDGE_ADDRESS, EDGE_SUBNET, hasStandIns, nodeImage, PROJECT } from './engine.ts'
import { output, poll, run, shell } from './shell.ts'

const ROOT = join(import.meta.dirname, '..', '..', '..')

/** Five hostnames as an operator has them, and the dashboard's. */
export const DOMAINS = ['api', 'alternative', 'third', 'short', 'fifth'].map((name) => `${name}.example.test`)
export const DASHBOARD = `traefik.${DOMAINS[0]}`
export const ALL_NAMES = [...DOMAINS, DASHBOARD]

/** A clone of the repository in a folder of its own, deployed with the real compose file. */
export interface Deployment {
  folder: string
  /** `docker-compose -f docker-compose.prod.yml <line>`. */
  compose(line: string): Promise<string>
  /** A line of shell in the clone; `$COMPOSE` is the command above. */
  shell(line: string): Promise<string>
  set(values: Record<string, string>): void
}

export interface DeploymentOptions {
  /** The command, for machines with several. */
  compose?: readonly string[]
  /** Added to the compose file, as its override. */
  override?: object
  settings?: Record<string, string>
  /** Another project, for a stack beside the usual one. */
  project?: string
}

/** The tracked files, as a clone would have them. */
export async function clone(t: Owner): Promise<string> {
  const folder = temporaryFolder(t, 'gw-edge-')
  const files = await output('git', ['ls-files', '-co', '--exclude-standard'], { cwd: ROOT })
  for (const file of files.split('\n').filter((path) => !/^(test|bench)\//.test(path))) {
    mkdirSync(dirname(join(folder, file)), { recursive: true })
    copyFileSync(join(ROOT, file), join(folder, file))
  }
  if (await hasStandIns())
    await shell("sed -i 's/@sha256:[0-9a-f]*$//' Dockerfile docker-compose*.yml", { cwd: folder })
  return folder
}

/** Fills in `.env` as docs/production.md says: a copy of the example, some lines completed. */
export function fillIn(folder: string, values: Record<string, string>, from = '.env'): void {
  let text = readFileSync(join(folder, from), 'utf8')
  for (const [name, value] of Object.entries(values)) {
    const line = new RegExp(`^${name}=.*$`, 'm')
    text = line.test(text) ? text.replace(line, `${name}=${value}`) : `${text}${name}=${value}\n`
  }
  writeFileSync(join(folder, '.env'), text, { mode: 0o600 })
}

export const settingsOf = (authority: string): Record<string, string> => ({
  ...Object.fromEntries(DOMAINS.map((domain, index) => [`DOMAIN${index + 1}`, domain])),
  ACME_EMAIL: 'operator@example.test',
  ACME_CA_SERVER: authority,
  EDGE_HTTP: `${EDGE_ADDRESS}:80`,
  EDGE_HTTPS: `${EDGE_ADDRESS}:443`,
  EDGE_SUBNET,
})

/** What a killed run may have left. */
const sweep = (project: string): Promise<string> =>
  shell(`l=label=com.docker.compose.project=${project}
    docker ps -aq --filter $l | xargs -r docker rm -f
    docker network ls -q --filter $l | xargs -r docker network rm
    docker volume ls -q --filter $l | xargs -r docker volume rm`)

/** A clone with its `.env` and override; nothing runs yet. Taken down with the test. */
export async function openDeployment(t: Owner, options: DeploymentOptions = {}): Promise<Deployment> {
  const folder = await clone(t)
  fillIn(folder, options.settings ?? {}, '.env.example')
  const image = await nodeImage()
  const build = { build: { context: '.', args: { NODE_IMAGE: image } } }
  const built = ['prepare', 'certificates', 'api-gateway', 'api-gateway-2', 'api-gateway-3']
  const services = image === undefined ? {} : Object.fromEntries(built.map((name) => [name, build]))
  writeFileSync(join(folder, 'build.json'), JSON.stringify({ services }))
  writeFileSync(join(folder, 'override.json'), JSON.stringify(options.override ?? {}))
  const files = `-f docker-compose.prod.yml -f build.json${options.override ? ' -f override.json' : ''}`
  const command = (options.compose ?? ['docker-compose']).join(' ')
  const { project = PROJECT } = options
  const env = { COMPOSE: `${command} -p ${project} ${files}`, COMPOSE_PROJECT_NAME: project }
  const inside = (line: string) => shell(line, { cwd: folder, env: { ...env, DOCKER_BUILDKIT: '0' } })
  const compose = (line: string) => inside(`$COMPOSE ${line}`)
  await sweep(project)
  t.teardown(() => compose('--profile scale --profile monitoring down -v --remove-orphans -t 10'))
  return { folder, compose, shell: inside, set: (values) => fillIn(folder, values) }
}

/** Waits until Docker calls the container healthy. */
export const untilHealthy = (container: string): Promise<true> =>
  poll(`${container} to be healthy`, async () => {
    const { stdout } = await run('docker', ['inspect', '-f', '{{.State.Health.Status}}', container])
    return stdout.trim() === 'healthy' || undefined
  })
