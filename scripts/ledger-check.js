// @ts-check
import { runOnOurNode } from './our-node.js'

await runOnOurNode(() => import('./ledger-check/main.ts'))
