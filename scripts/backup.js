// @ts-check
import { runOnOurNode } from './our-node.js'

await runOnOurNode(() => import('./backup/main.ts'))
