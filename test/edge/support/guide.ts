import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const TEXT = readFileSync(join(import.meta.dirname, '../../../docs/production.md'), 'utf8')

/** The commands that stand below these words in docs/production.md, for a shell that is root and has `$COMPOSE`. */
export function commandsBelow(words: string): string {
  const [, after] = TEXT.split(words)
  const [, commands] = /```bash\n(.*?)```/s.exec(after ?? '') ?? []
  if (commands === undefined) throw new Error(`docs/production.md has no commands below "${words}"`)
  return commands.replaceAll('docker-compose -f docker-compose.prod.yml', '$COMPOSE').replaceAll('sudo ', '')
}
