import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from '../../support/gateway.ts'
import { bareEnv, startProcess } from '../../support/process.ts'
import type { Owner } from '../../support/waiting.ts'
import { run } from './shell.ts'

/** What the pages name, and what stands for it on this machine. */
export interface Places {
  gatewayPort: number
  httpsPort: number
  httpPort: number
  certificate: { cert: string; key: string }
}

/** A web server in front of the gateway, by the whole file of docs/behind.md. */
export interface WebServer {
  name: 'nginx' | 'caddy'
  start(t: Owner, places: Places): Promise<void>
}

/** The one file of this language that docs/behind.md shows. */
function settingsIn(language: string): string {
  const text = readFileSync(join(import.meta.dirname, '../../../docs/behind.md'), 'utf8')
  const [, block] = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(text) ?? []
  if (block === undefined) throw new Error(`docs/behind.md shows no ${language}`)
  return block
}

/** Takes each for the other, once at least: a page that names it otherwise is not what is tried. */
function put(text: string, places: Record<string, string>): string {
  return Object.entries(places).reduce((all, [named, here]) => {
    if (!all.includes(named)) throw new Error(`the page does not name ${named}`)
    return all.replaceAll(named, here)
  }, text)
}

async function startNginx(
  t: Owner,
  { gatewayPort, httpsPort, httpPort, certificate }: Places,
): Promise<void> {
  const folder = temporaryFolder(t, 'gw-nginx-')
  mkdirSync(join(folder, 'temporary'))
  writeFileSync(join(folder, 'own.crt'), certificate.cert)
  writeFileSync(join(folder, 'own.key'), certificate.key)
  const site = put(settingsIn('nginx'), {
    '127.0.0.1:8088': `127.0.0.1:${gatewayPort}`,
    'listen 443 ssl': `listen 127.0.0.1:${httpsPort} ssl`,
    'listen 80;': `listen 127.0.0.1:${httpPort};`,
    '/etc/letsencrypt/live/api.example.com/fullchain.pem': join(folder, 'own.crt'),
    '/etc/letsencrypt/live/api.example.com/privkey.pem': join(folder, 'own.key'),
  })
  writeFileSync(join(folder, 'site.conf'), site)
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  const temporary = kinds.map((kind) => `  ${kind}_temp_path ${folder}/temporary/${kind};`).join('\n')
  // One process: what is killed leaves no workers.
  const main = `daemon off;\nmaster_process off;\npid ${folder}/pid;\nerror_log stderr;\nevents {}\nhttp {\n  access_log off;\n${temporary}\n  include ${folder}/site.conf;\n}\n`
  writeFileSync(join(folder, 'nginx.conf'), main)
  startProcess(t, { command: 'nginx', args: ['-c', join(folder, 'nginx.conf')], env: bareEnv(), cwd: folder })
}

async function startCaddy(
  t: Owner,
  { gatewayPort, httpsPort, httpPort, certificate }: Places,
): Promise<void> {
  const folder = temporaryFolder(t, 'gw-caddy-')
  writeFileSync(join(folder, 'own.crt'), certificate.cert)
  writeFileSync(join(folder, 'own.key'), certificate.key)
  const names = 'api.example.com, api-2.example.com {'
  const site = put(settingsIn('caddyfile'), {
    '127.0.0.1:8088': `127.0.0.1:${gatewayPort}`,
    [names]: `${names}\n\tbind 127.0.0.1\n\ttls ${folder}/own.crt ${folder}/own.key`,
  })
  const head = `{\n\tadmin off\n\thttp_port ${httpPort}\n\thttps_port ${httpsPort}\n}\n`
  writeFileSync(join(folder, 'Caddyfile'), head + site)
  const env = { ...bareEnv(), HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }
  const args = ['run', '--adapter', 'caddyfile', '--config', join(folder, 'Caddyfile')]
  startProcess(t, { command: 'caddy', args, env, cwd: folder })
}

export const WEB_SERVERS: readonly WebServer[] = [
  { name: 'nginx', start: startNginx },
  { name: 'caddy', start: startCaddy },
]

/** Why it cannot be tried here, in one line. */
export async function whyNotHere({ name }: WebServer): Promise<string | undefined> {
  const { code } = await run('sh', ['-c', `command -v ${name}`])
  return code === 0
    ? undefined
    : `no ${name} here (apt-get install ${name}): its part of docs/behind.md is not tried`
}
