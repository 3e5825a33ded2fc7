// @ts-check
import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

// From the second start on the sources are neither stripped nor compiled again; where nothing may be written, they are.
// This file is no TypeScript, since it comes before the cache: to strip it alone would take a tenth of the start.
enableCompileCache(join(import.meta.dirname, '..', 'node_modules', '.cache', 'node'))
await import('./process.ts')
