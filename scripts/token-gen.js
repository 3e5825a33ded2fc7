// @ts-check
import { runOnOurNode } from './our-node.js'

await runOnOurNode(() => import('./token-gen/main.ts'))
