import { enableCompileCache } from 'node:module'
import { join } from 'node:path'

// From the second start on the sources are neither stripped nor compiled again; where nothing may be written, they are.
enableCompileCache(join(import.meta.dirname, '..', 'node_modules', '.cache', 'node'))
await import('./process.ts')
