import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { delimiter, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { temporaryFolder } from './gateway.ts'
import { createWaiting, type Owner } from './waiting.ts'

/** A Chromium of this machine; undefined: there is none. */
export function findBrowser(): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .flatMap((folder) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => join(folder, name)))
    .find((path) => existsSync(path))
}

/** A site on loopback: one port, and so two origins, `127.0.0.1` and `localhost`. */
export interface Site {
  port: number
  /** Opens the page at `host` in a browser; resolves with what its script gave to `report`. */
  visit(host: string): Promise<unknown>
}

export interface SiteOptions {
  browser: string
  /** Runs in the page, beside a function `report(result)`. */
  script(): string
}

function pageOf(script: string): string {
  return `<!doctype html><meta charset="utf-8"><title>test</title><script>
const report = (result) => fetch('/report', { method: 'POST', body: JSON.stringify(result) })
${script}
</script>`
}

export async function startSite(t: Owner, { browser, script }: SiteOptions): Promise<Site> {
  const waiting = createWaiting()
  const reports: unknown[] = []
  const server = createServer(async (request, response) => {
    if (request.method === 'POST') {
      reports.push(JSON.parse(await text(request)))
      waiting.check()
    }
    response.writeHead(request.url === '/favicon.ico' ? 404 : 200, { 'content-type': 'text/html' })
    response.end(request.url === '/' ? pageOf(script()) : '')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  const { port } = server.address() as AddressInfo
  const visit = async (host: string): Promise<unknown> => {
    const seen = reports.length
    const close = openBrowser(t, browser, `http://${host}:${port}/`)
    try {
      return await waiting.until('the page to report', () => reports.slice(seen).at(0), 60_000)
    } finally {
      await close()
    }
  }
  return { port, visit }
}

function openBrowser(t: Owner, browser: string, url: string): () => Promise<void> {
  const home = temporaryFolder(t, 'gw-browser-')
  const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run']
  const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync']
  const child = spawn(
    browser,
    [...flags, ...quiet, '--remote-debugging-port=0', `--user-data-dir=${home}`, url],
    { stdio: 'ignore', env: { PATH: process.env.PATH, HOME: home } },
  )
  const ended = once(child, 'close')
  return async () => {
    child.kill('SIGTERM')
    await ended
  }
}
