// The long form of the torture: `npm run torture`, or `npm run torture -- kills` for one part. Ends by itself.
import { hostileClients } from './clients.ts'
import { crowd } from './crowd.ts'
import { canMount, fillAgainAndAgain } from './full-disk.ts'
import { failAtEveryCall, hasStrace } from './io-faults.ts'
import { type Findings, killAgainAndAgain } from './kills.ts'
import { crowdedFolder } from './neighbours.ts'
import { openOneGateway } from './one-gateway.ts'
import { cutAgainAndAgain, cutStockAdapter, openDisk } from './power-cut.ts'
import { tortureRedis } from './redis-parts.ts'
import { storm } from './storm.ts'
import { replaceAgainAndAgain } from './successors.ts'

const closing: (() => unknown)[] = []
const owner = { teardown: (close: () => unknown) => closing.push(close) }
const say = (text: string) => process.stdout.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`)
const every = (step: number, name: string) => (done: number) => {
  if (done % step === 0) say(`${name}: ${done} done`)
}
const leftOut = (why: string): Findings => ({ faults: [], figures: `left out: ${why}` })

async function cutPower(): Promise<Findings> {
  const disk = openDisk()
  if (typeof disk === 'string') return leftOut(disk)
  try {
    const findings = await cutAgainAndAgain(disk, 60, every(10, 'power'))
    const stock = await cutStockAdapter(disk, 10)
    const figures = `${findings.figures}; lowdb's own adapter lost ${stock.lost} of ${stock.acknowledged}`
    const faults =
      stock.lost === 0
        ? [...findings.faults, 'the control lost nothing: this test shows nothing']
        : findings.faults
    return { faults, figures }
  } finally {
    disk.remove()
  }
}

const PARTS: Readonly<Record<string, () => Promise<Findings>>> = {
  crowd: async () => {
    const { gateway, mint } = await openOneGateway(owner)
    return crowd({ gateways: [gateway], requests: 1000, rounds: 20, mint }, every(5, 'crowd'))
  },
  neighbours: async () =>
    crowdedFolder(owner, await openOneGateway(owner), { commands: 200, progress: every(20, 'neighbours') }),
  power: cutPower,
  faults: async () =>
    hasStrace()
      ? failAtEveryCall({ progress: every(20, 'faults') })
      : leftOut('needs strace (package strace)'),
  full: async () =>
    canMount() ? fillAgainAndAgain(4, every(10, 'full')) : leftOut('needs the right to mount a tmpfs'),
  clients: () => hostileClients(owner, (name) => every(name.endsWith('answers') ? 1000 : 1, name)),
  redis: tortureRedis,
  storm: () => storm(owner, { seconds: 60 }),
  kills: () => killAgainAndAgain(1000, every(50, 'kills')),
  successors: () => replaceAgainAndAgain(500, every(50, 'successors')),
}

const asked = process.argv.slice(2)
const unknown = asked.find((name) => !(name in PARTS))
if (unknown !== undefined) throw new Error(`there is no part "${unknown}": ${Object.keys(PARTS).join(', ')}`)
for (const [name, part] of Object.entries(PARTS)) {
  if (asked.length > 0 && !asked.includes(name)) continue
  say(`${name}: begins`)
  const { faults, figures } = await part()
  say(`${name}: ${figures}: ${faults.length === 0 ? 'nothing wrong' : `${faults.length} FAULTS`}`)
  for (const fault of faults) say(`  ${fault}`)
  if (faults.length > 0) process.exitCode = 1
  for (const close of closing.splice(0).reverse()) await close()
}
