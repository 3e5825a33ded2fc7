// Loaded before a gateway (`--import`) or beside a test: what is looked at a minute after the start is looked at soon.
import { syncBuiltinESMExports } from 'node:module'
import timers from 'node:timers/promises'

const FIRST_LOOK_MS = 60_000
const SOON_MS = 100

const wait = timers.setTimeout
timers.setTimeout = (ms, ...rest) => wait(ms === FIRST_LOOK_MS ? SOON_MS : ms, ...rest)
syncBuiltinESMExports()
