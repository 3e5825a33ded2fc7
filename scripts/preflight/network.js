// @ts-check
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { ownTraefikRuns } from './machine.js'
import { hostnames } from './settings.js'

/** @typedef {import('./settings.js').Settings} Settings */

const PRIVATE =
  /^(10\.|127\.|169\.254\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|f[cde])/i

/** The public addresses that this machine knows to be its own. @returns {string[]} */
export function findAddresses() {
  return Object.values(networkInterfaces())
    .flatMap((all) => all ?? [])
    .filter(({ internal, address }) => !internal && !PRIVATE.test(address))
    .map(({ address }) => address)
}

/** @param {Settings} settings @param {{ addresses: string[], resolver?: string }} where @returns {Promise<string[]>} */
export async function checkNames(settings, { addresses, resolver: server }) {
  const names = hostnames(settings)
  // Behind something else they rightly point there.
  if (settings.EDGE_DNS_CHECK === 'off' || settings.ACME_CHALLENGE === 'off') return []
  if (addresses.length === 0)
    return [
      'this machine has no public address of its own: run again with --address and the one that DNS shall name',
    ]
  const answers = await Promise.all(names.map((name) => findRecords(name, server)))
  const failed = answers.filter(({ failure }) => failure !== undefined)
  const known = answers.filter(({ failure }) => failure === undefined)
  return [...reportSilence(failed), ...known.flatMap((answer) => checkRecords(answer, addresses))]
}

/** @typedef {{ name: string, found: string[], failure?: string }} Answer `failure`: why the records are not known */

/**
 * All addresses of a name, as DNS has them now: a resolver of its own remembers nothing.
 * @param {string} name @param {string} [server] @returns {Promise<Answer>}
 */
export async function findRecords(name, server) {
  const resolver = new Resolver({ timeout: 2000, tries: 2 })
  if (server) resolver.setServers([server])
  const results = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)])
  const found = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []))
  const codes = results.flatMap((result) =>
    result.status === 'rejected' ? [String(result.reason.code)] : [],
  )
  const failure = codes.find((code) => code !== 'ENOTFOUND' && code !== 'ENODATA')
  return failure === undefined ? { name, found } : { name, found, failure }
}

/** @param {Answer[]} failed */
function reportSilence(failed) {
  if (failed.length === 0) return []
  const codes = [...new Set(failed.map(({ failure }) => failure))].join(', ')
  const names = failed.map(({ name }) => name).join(', ')
  return [
    `the DNS server gave no answer (${codes}) for ${names}: try again, or ask another with --resolver 1.1.1.1`,
  ]
}

/** @param {Answer} answer @param {string[]} addresses */
function checkRecords({ name, found }, addresses) {
  const own = addresses.join(' or ')
  if (found.length === 0) return [`${name} has no DNS record: make an A record with ${own}, then wait for it`]
  const others = found.filter((address) => !addresses.includes(address))
  // One wrong record is enough for the authority to ask there, an IPv6 one first of all.
  if (others.length > 0)
    return [`${name} points to ${others.join(', ')}, this server is ${own}: correct the DNS record`]
  return []
}

/** @param {Settings} settings @returns {Promise<string[]>} */
export async function checkPorts({ EDGE_HTTP, EDGE_HTTPS, STACK_NAME }) {
  if (ownTraefikRuns(STACK_NAME)) return []
  const places = [EDGE_HTTP || '80', EDGE_HTTPS || '443']
  return (await Promise.all(places.map(checkPort))).flat()
}

/** @param {string} place a port, or an address (an IPv6 one in brackets) and a port */
async function checkPort(place) {
  const [, host = '0.0.0.0', port = ''] = /^(?:\[?(.*?)\]?:)?(\d+)$/.exec(place) ?? []
  const server = createServer()
  try {
    server.listen(Number(port), host)
    await once(server, 'listening')
    return []
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    if (code === 'EADDRINUSE')
      return [`port ${port} is taken: "ss -ltnp sport = :${port}" names the program, stop and disable it`]
    if (code === 'EACCES') return [`whether port ${port} is free only root can see: run this with sudo`]
    return [`port ${port} cannot be used (${code}): check EDGE_HTTP and EDGE_HTTPS in .env`]
  } finally {
    server.close()
  }
}
