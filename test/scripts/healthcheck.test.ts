import { execFileSync } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { temporaryFolder } from '../support/gateway.ts'

const DOCKERFILE = join(import.meta.dirname, '..', '..', 'Dockerfile')

t.test("the image's health check asks at the port that the gateway reads", async (t) => {
  const [, command = ''] = /^HEALTHCHECK .*\n {2}CMD (.*)$/m.exec(readFileSync(DOCKERFILE, 'utf8')) ?? []
  const folder = temporaryFolder(t)
  const curl = join(folder, 'curl')
  writeFileSync(curl, '#!/bin/sh\nfor url; do :; done; echo "$url"\n')
  chmodSync(curl, 0o755)
  const ask = (env: Record<string, string>) =>
    execFileSync('/bin/sh', ['-c', command], {
      env: { PATH: `${folder}:/usr/bin:/bin`, ...env },
      encoding: 'utf8',
    })
  for (const [env, port] of [
    [{}, 8088],
    [{ PORT: '', API_GATEWAY_PORT: '' }, 8088],
    [{ PORT: '9000' }, 9000],
    [{ PORT: '', API_GATEWAY_PORT: '9001' }, 9001],
    [{ PORT: '9000', API_GATEWAY_PORT: '9001' }, 9000],
    [{ API_GATEWAY_PORT: 'tcp://10.43.0.5:8088' }, 8088],
    [{ PORT: '9000   # internal' }, 9000],
    [{ PORT: ' "9000" # internal' }, 9000],
    [{ PORT: "'9000'" }, 9000],
  ] as const)
    t.equal(ask(env).trim(), `http://127.0.0.1:${port}/health`, JSON.stringify(env))
})
