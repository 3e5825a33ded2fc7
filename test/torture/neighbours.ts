import { randomUUID } from 'node:crypto'
import { bearer, credits, post } from '../support/client.ts'
import { failGateway, runTokenGen, type TestGateway } from '../support/gateway.ts'
import { bareEnv, runProcess } from '../support/process.ts'
import type { Owner } from '../support/waiting.ts'
import type { Findings } from './kills.ts'
import type { OneGateway } from './one-gateway.ts'

const LEDGER_CHECK = new URL('../../scripts/ledger-check.js', import.meta.url).pathname
const AT_ONCE = 10

interface Load {
  paid: number
  stop(): Promise<void>
}

/** Pays with the token, ten requests at a time, until it is stopped. */
function startLoad(gateway: TestGateway, token: string): Load {
  let isOn = true
  const load = { paid: 0 }
  const pay = async () => {
    while (isOn) {
      const body = { model: 'picture', prompt: 'load' }
      if ((await post(gateway, '/v1/images/generations', body, bearer(token))).status === 200) load.paid += 1
    }
  }
  const paying = Promise.all(Array.from({ length: AT_ONCE }, pay))
  const stop = async () => {
    isOn = false
    await paying
  }
  return Object.assign(load, { stop })
}

/** A token command in a loop, and other servers on the same folder, beside a server under load: nothing may be lost. */
export async function crowdedFolder(
  t: Owner,
  { gateway, mint }: OneGateway,
  { commands, progress = () => {} }: { commands: number; progress?: (done: number) => void },
): Promise<Findings> {
  const faults: string[] = []
  const command = (...args: string[]) => runTokenGen(t, gateway.dbDir, args)
  const payer = await mint(1_000_000)
  const load = startLoad(gateway, payer)
  const name = randomUUID()
  const minted = ['--userName', name, '--token', '10']
  if ((await command(...minted)).code !== 0) faults.push('the first mint failed')
  let added = 0
  for (let done = 1; done <= commands; done++) {
    const { code, stderr } = await command('--userName', name, '--add', '2')
    if (code === 0) added += 2
    else faults.push(`command ${done}: ${stderr}`)
    if (done % 5 === 0) {
      const second = await failGateway(t, { dbDir: gateway.dbDir })
      if (second.code !== 78) faults.push(`a second server ended with ${second.code}`)
      const check = await runProcess(t, {
        args: [LEDGER_CHECK],
        env: { ...bareEnv(), DB_DIR: gateway.dbDir },
        cwd: '/',
      })
      if (check.code !== 0) faults.push(`ledger-check: ${check.stderr}`)
    }
    progress(done)
  }
  await load.stop()
  const listed = JSON.parse((await command('--list', '--json')).stdout)
  const own = listed.find(({ user }: { user: string }) => user === name)
  if (own?.credits.balance !== 10 + added)
    faults.push(`${own?.credits.balance} instead of ${10 + added} credits`)
  const { charged, held } = await credits(gateway, payer)
  if (charged !== load.paid || held !== 0) faults.push(`${load.paid} paid, ${charged} charged, ${held} held`)
  const figures = `${commands} top-ups by command beside ${load.paid} paid requests, ${Math.floor(commands / 5)} second servers refused`
  return { faults, figures }
}
