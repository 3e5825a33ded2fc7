// @ts-check
import { runOnOurNode } from './our-node.js'

await runOnOurNode(() => import('./store-move/main.ts'))
