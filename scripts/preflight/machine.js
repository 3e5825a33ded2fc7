// @ts-check
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'

const OTHERS = 0o077
const LEAST_DOCKER = '20.10.0'
const LEAST_COMPOSE = '1.29.2'
/** Its images lack a field that Compose 1 reads when it replaces a container: KeyError 'ContainerConfig'. */
const DOCKER_WITHOUT_COMPOSE_1 = '26'

/** @param {string} command @param {string[]} args */
function said(command, args) {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', timeout: 20_000 })
  return status === 0 ? stdout.trim() : ''
}

// There is no docker to ask in a container (scripts/preflight.sh): the answers come along as variables.
function dockerVersion() {
  return process.env.DOCKER_VERSION ?? said('docker', ['version', '--format', '{{.Server.Version}}'])
}
export function composeVersion() {
  return (
    process.env.COMPOSE_VERSION ??
    (said('docker-compose', ['version', '--short']) || said('docker', ['compose', 'version', '--short']))
  )
}

/** Then its ports are taken by right. @param {string} [stack] */
export function ownTraefikRuns(stack) {
  const filter = `name=^traefik-${stack || 'prod'}$`
  return (process.env.TRAEFIK_RUNNING ?? said('docker', ['ps', '-q', '--filter', filter])) !== ''
}

/** @param {string} version @param {string} least */
function isOlder(version, least) {
  return version.replace(/^v/, '').localeCompare(least, undefined, { numeric: true }) < 0
}

/** What is no hindrance, as lines. */
export function notes() {
  return spawnSync('sh', ['scripts/pin-images.sh', '--check'], { encoding: 'utf8' }).stdout ?? ''
}

/** @returns {string[]} */
export function checkMachine() {
  return [...checkVersions(), ...checkModes()]
}

function checkVersions() {
  const [docker, compose] = [dockerVersion(), composeVersion()]
  const findings = []
  if (docker === '')
    findings.push('no Docker engine answers: install it (get.docker.com), start it, or run this with sudo')
  else if (isOlder(docker, LEAST_DOCKER))
    findings.push(`Docker ${docker} is too old: install ${LEAST_DOCKER} or newer`)
  if (compose === '') findings.push('no Compose here: install docker-compose-plugin or docker-compose')
  else if (isOlder(compose, LEAST_COMPOSE))
    findings.push(`Compose ${compose} is too old: install ${LEAST_COMPOSE} or newer`)
  else if (isOlder(compose, '2') && docker !== '' && !isOlder(docker, DOCKER_WITHOUT_COMPOSE_1))
    findings.push(
      `Compose ${compose} cannot replace containers of Docker ${docker} (KeyError 'ContainerConfig'): use Compose 2: apt-get remove docker-compose, install docker-compose-plugin, type "docker compose"`,
    )
  return findings
}

function checkModes() {
  return ['letsencrypt/acme.json', 'edge/dashboard-users']
    .filter((path) => existsSync(path) && (statSync(path).mode & OTHERS) !== 0)
    .map((path) => `${path} can be read by other users of this server: chmod 600 ${path}`)
}
