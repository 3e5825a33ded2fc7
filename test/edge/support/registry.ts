import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import type { Owner } from '../../support/waiting.ts'

const PREFIX = 'application/vnd.docker'
const MANIFEST = `${PREFIX}.distribution.manifest.v2+json`

const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

/** An image registry on loopback, where Docker asks without TLS. */
export interface Registry {
  /** Its host and port, as in an image's name. */
  host: string
  /** Puts an empty image there, which `note` makes another one; returns its digest. */
  push(name: string, note: string): string
}

export async function startRegistry(t: Owner): Promise<Registry> {
  const blobs = new Map<string, Buffer>()
  const manifests = new Map<string, Buffer>()
  const server = createServer(({ url = '', method }, response) => {
    const [, kind, key] = /^\/v2\/.*?(manifests|blobs)\/(.+)$/.exec(url) ?? []
    const name = /^\/v2\/(.+)\/manifests\//.exec(url)?.[1]
    const found = kind === 'blobs' ? blobs.get(key ?? '') : manifests.get(`${name} ${key}`)
    response.setHeader('docker-distribution-api-version', 'registry/2.0')
    if (url === '/v2/') return response.end('{}')
    if (found === undefined) return response.writeHead(404).end()
    response.setHeader('content-type', kind === 'manifests' ? MANIFEST : 'application/octet-stream')
    response.setHeader('docker-content-digest', digestOf(found))
    response.setHeader('content-length', found.length)
    return response.end(method === 'HEAD' ? undefined : found)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const keep = (bytes: Buffer, mediaType: string) => {
    blobs.set(digestOf(bytes), bytes)
    return { mediaType, size: bytes.length, digest: digestOf(bytes) }
  }
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    push(name, note) {
      // A tar file of nothing is two blocks of zeros.
      const tar = Buffer.alloc(1024)
      const layer = keep(gzipSync(tar), `${PREFIX}.image.rootfs.diff.tar.gzip`)
      const rootfs = { type: 'layers', diff_ids: [digestOf(tar)] }
      const image = { architecture: 'amd64', os: 'linux', config: { Labels: { note } }, rootfs }
      const config = keep(Buffer.from(JSON.stringify(image)), `${PREFIX}.container.image.v1+json`)
      const body = { schemaVersion: 2, mediaType: MANIFEST, config, layers: [layer] }
      const manifest = Buffer.from(JSON.stringify(body))
      const [repository = '', tag = ''] = name.split(':')
      for (const key of [tag, digestOf(manifest)]) manifests.set(`${repository} ${key}`, manifest)
      return digestOf(manifest)
    },
  }
}
