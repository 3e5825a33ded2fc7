import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  findCrumbs,
  findCycles,
  findLargeRooms,
  findLongFiles,
  findWallBreaks,
  readHouse,
  readSource,
  type Walls,
} from './support/house.ts'

const LEAVES = [
  'answer-fields.ts',
  'errors.ts',
  'json.ts',
  'deadlines.ts',
  'live.ts',
  'turns.ts',
  'node-http.ts',
  'route-schemas.ts',
  'socket-path.ts',
]
const CONFIG = ['config', 'config/env', 'config/catalog']
const COUNTED = ['metering', 'dialects']
const PLUGINS = ['entrance', 'auth', 'limits', 'services', 'admin', 'telemetry']
const WAY = ['request', 'exchange', 'billing', 'routing', 'upstream', 'websocket', 'realtime']
const ROOMS = [...PLUGINS, ...WAY, ...COUNTED]

/** What a plugin room may know: what is pure, and what the stores promise. */
const pluginWall: Walls[string] = {
  may: ['routing', ...COUNTED, 'stores/contracts', ...CONFIG, ...LEAVES],
  why: 'plugins meet in app.ts, by options and by what they leave on the request',
}

const driverWall = (...may: string[]): Walls[string] => ({
  may: [...may, 'stores', 'stores/contracts', ...LEAVES],
  types: CONFIG,
  why: 'a driver keeps what the contracts say: it knows no policy, no server and no other driver',
})

/**
 * A room (or a file with a wall of its own) and what it may import; type imports count. `biome.jsonc` says the same to
 * the editor.
 */
const WALLS: Walls = {
  ...Object.fromEntries(LEAVES.map((file) => [file, { may: LEAVES, why: 'everybody stands on it' }])),
  config: { may: LEAVES, why: 'what the operator said depends on nothing that acts on it' },
  'config/env': {
    may: [...CONFIG, ...LEAVES],
    why: 'what the operator said depends on nothing that acts on it',
  },
  'config/catalog': {
    may: ['config', ...LEAVES],
    why: "the settings read the catalog's rows, never the other way round",
  },
  dialects: {
    may: [...CONFIG, ...LEAVES],
    types: ['stores/contracts'],
    why: 'a wire format is known without anything that is done with it',
  },
  metering: {
    may: ['dialects', ...CONFIG, ...LEAVES],
    types: ['stores/contracts'],
    why: 'what is counted depends on formats and prices alone',
  },
  routing: {
    may: ['dialects', ...CONFIG, ...LEAVES],
    types: ['stores/contracts'],
    why: 'choosing is pure: it asks nobody and knows no bodies',
  },
  request: {
    may: [...COUNTED, ...CONFIG, ...LEAVES],
    why: 'reading what is asked knows nothing of who answers or pays',
  },
  upstream: { may: LEAVES, why: 'the way out knows neither money nor tokens' },
  websocket: { may: LEAVES, why: 'frames, relay and upgrade know neither money nor tokens' },
  billing: {
    may: ['routing', ...COUNTED, 'stores/contracts', ...CONFIG, ...LEAVES],
    types: ['request'],
    why: 'what it costs is the same, however it is asked and answered',
  },
  exchange: {
    may: ['request', 'routing', 'billing', 'upstream', ...COUNTED, 'stores/contracts', ...CONFIG, ...LEAVES],
    why: 'there and back over HTTP: sockets and services are other doors',
  },
  realtime: {
    may: [
      ...['websocket', 'billing', 'routing', 'upstream', 'request', ...COUNTED],
      ...['stores/contracts', ...CONFIG, ...LEAVES],
    ],
    why: 'a paid socket and a paid request share rooms below them, not each other',
  },
  services: {
    may: [
      ...['websocket', 'upstream', 'routing', 'request', ...COUNTED],
      ...['stores/contracts', ...CONFIG, ...LEAVES],
    ],
    why: 'what is handed to a service is no paid request: it knows no bill and no exchange',
  },
  entrance: pluginWall,
  auth: pluginWall,
  limits: pluginWall,
  admin: pluginWall,
  telemetry: { ...pluginWall, may: [...pluginWall.may, 'telemetry/logger'] },
  'telemetry/logger': { may: LEAVES, why: 'the log is there before everything else' },
  'stores/contracts': { may: LEAVES, types: CONFIG, why: 'what stores promise is said without them' },
  stores: {
    may: ['stores/contracts', ...LEAVES],
    types: CONFIG,
    why: 'what all drivers stand on knows none of them',
  },
  'stores/sql': driverWall(),
  'stores/file': driverWall('stores/sql'),
  'stores/redis': driverWall('stores/sql'),
  'stores/guest': driverWall(),
  'stores/open-files.ts': {
    may: ['stores', 'stores/contracts', 'stores/file', 'stores/guest', ...LEAVES],
    why: 'it opens the files, or a way to them, and decides nothing else',
  },
  'stores/open.ts': {
    may: [
      'stores',
      'stores/open-files.ts',
      'stores/contracts',
      'stores/sql',
      'stores/file',
      'stores/redis',
      ...LEAVES,
    ],
    types: CONFIG,
    why: 'it opens drivers and decides nothing else',
  },
  'stores/move.ts': {
    may: [
      'stores',
      'stores/open.ts',
      'stores/contracts',
      'stores/sql',
      'stores/file',
      'stores/redis',
      ...LEAVES,
    ],
    types: CONFIG,
    why: 'it carries accounts from one driver to the other',
  },
  'stores/backup.ts': {
    may: ['stores', 'stores/contracts', 'stores/sql', 'stores/file', ...LEAVES],
    why: 'it copies folders and proves copies, and knows no server',
  },
  'http-server.ts': {
    may: ['entrance', 'telemetry', 'websocket', ...CONFIG, ...LEAVES],
    why: 'the listener is what the doors of app.ts hang in',
  },
  'demo.ts': { may: LEAVES, types: CONFIG, why: 'the demo is a provider like any other, behind a socket' },
  'app.ts': {
    may: [...ROOMS, 'http-server.ts', 'shared.ts', 'drain.ts', 'stores/contracts', ...CONFIG, ...LEAVES],
    why: 'the map names every room and opens no store',
  },
  'shared.ts': {
    may: [...ROOMS, 'stores/contracts', ...CONFIG, ...LEAVES],
    why: 'what all requests of an app share is opened here, for the map: no store among it',
  },
  'drain.ts': { may: LEAVES, why: 'waiting for what runs needs nothing that runs' },
  'welcome.ts': {
    may: [...CONFIG, ...LEAVES],
    types: ['telemetry/logger'],
    why: 'the first words need nothing that runs',
  },
  'followed-secrets.ts': {
    may: ['auth', ...CONFIG, ...LEAVES],
    types: ['stores/open.ts', 'telemetry/logger'],
    why: 'it hands new secrets to those that process.ts has opened',
  },
  'process.ts': {
    may: [
      ...['app.ts', 'demo.ts', 'welcome.ts', 'stores/open.ts', 'telemetry/logger', 'admin', 'auth'],
      'followed-secrets.ts',
      ...[...CONFIG, ...LEAVES],
    ],
    types: ['stores/contracts', 'signals.ts'],
    why: 'the process starts and stops: what happens to a request is the business of app.ts',
  },
  'server.js': {
    may: ['process.ts', 'signals.ts', 'our-node.js'],
    why: 'it chooses the Node, turns the cache on and hears signals: the rest is the business of process.ts',
  },
  'our-node.js': { may: [], why: 'a Node that reads nothing else has to read it' },
  'signals.ts': { may: [], why: 'it listens before anything else is loaded' },
}

const house = readHouse()
const scripts = readHouse(join(import.meta.dirname, '..', 'scripts')).map(({ path, lines, imports }) => ({
  path: `scripts/${path}`,
  lines,
  imports: imports.map(({ to, isType }) => ({ to: to.replace(/^.*\bsrc\//, ''), isType })),
}))

const none: string[] = []

t.test('no room looks into one that stands above it, not even for a type', async (t) => {
  t.strictSame(findWallBreaks(house, WALLS), none)
})

t.test('no file needs itself by way of others, not even for a type', async (t) => {
  t.strictSame(findCycles(house), none)
})

t.test('no room has more than 15 % of the house', async (t) => {
  t.strictSame(findLargeRooms(house, 0.15), none)
})

t.test('every file is read at one sitting: 300 lines at most', async (t) => {
  t.strictSame(findLongFiles(house, 300), none)
})

t.test('a file of fewer than 30 lines serves more than one other', async (t) => {
  t.strictSame(findCrumbs(house, scripts, 30), none)
})

t.test('every wall stands somewhere: no rule is about a room that is gone', async (t) => {
  const here = new Set(house.flatMap(({ path }) => [path, path.split('/').slice(0, -1).join('/')]))
  t.strictSame(
    Object.keys(WALLS).filter((name) => !here.has(name)),
    none,
  )
})

interface Override {
  includes: string[]
  linter: { rules: { style?: { noRestrictedImports?: { options: { patterns?: { group: string[] }[] } } } } }
}

/** The rooms that the linter closes to `room`. */
function closedByLinter(room: string): string[] {
  const text = readFileSync(join(import.meta.dirname, '..', 'biome.jsonc'), 'utf8').replace(
    /^\s*\/\/.*$/gm,
    '',
  )
  const { overrides } = JSON.parse(text) as { overrides: Override[] }
  // Of several rules for one file the last one counts alone.
  const last = overrides.findLast(
    ({ includes, linter }) => includes.includes(`src/${room}/**`) && linter.rules.style?.noRestrictedImports,
  )
  const patterns = last?.linter.rules.style?.noRestrictedImports?.options.patterns ?? []
  return patterns.flatMap(({ group }) => group).filter((each) => each.endsWith('/**'))
}

t.test('the linter knows the same walls', async (t) => {
  const rooms = Object.keys(WALLS).filter((name) => !name.includes('.'))
  for (const room of rooms) {
    const { may = [], types = [] } = WALLS[room] ?? {}
    const closed = rooms.filter((each) => each !== room && each !== 'config' && each !== 'stores')
    const expected = closed.filter((each) => !may.includes(each) && !types.includes(each))
    const patterns = expected.map((each) => `**/${each.split('/').at(-1)}/**`)
    t.strictSame(
      closedByLinter(room).toSorted(),
      patterns.toSorted(),
      `biome.jsonc closes the same to ${room}/`,
    )
  }
})

t.test('a break of each rule is found, and told in words that help', async (t) => {
  const made = [
    readSource('websocket/lane.ts', "import type { Bill } from '../billing/bill.ts'\n"),
    readSource('billing/bill.ts', "import { a } from './b.ts'\nimport { Ask } from '../request/ask.ts'\n"),
    readSource('billing/b.ts', "export type {\n  A,\n} from './bill.ts'\n"),
    readSource('request/ask.ts', '\n'.repeat(301)),
    readSource('attic/box.ts', "const { x } = await import('../billing/b.ts')\n"),
  ]
  const [frames, values, attic] = findWallBreaks(made, WALLS)
  t.match(frames, 'websocket/lane.ts imports billing/bill.ts: "websocket" may not know "billing"')
  t.match(values, '"billing" may know "request" by its types alone')
  t.match(attic, 'nobody has said what "attic" may import')
  t.strictSame(findCycles(made), ['billing/bill.ts -> billing/b.ts -> billing/bill.ts'])
  t.match(findLargeRooms(made, 0.9), [/^request has 9\d\.\d % of src/])
  t.strictSame(findLongFiles(made, 300), ['request/ask.ts has 301 lines: 300 at most'])
  t.strictSame(findCrumbs(made.slice(0, 2), [], 30), [
    'billing/bill.ts (2 lines) is used by websocket/lane.ts alone: it belongs into it',
  ])
})
