import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildExample, buildTables, MARK } from './pages.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const PAGE = join(ROOT, 'docs', 'settings.md')

const [byHand = ''] = readFileSync(PAGE, 'utf8').split(MARK)
writeFileSync(PAGE, `${byHand}${MARK}\n${buildTables()}`)
writeFileSync(join(ROOT, '.env.example'), buildExample())
