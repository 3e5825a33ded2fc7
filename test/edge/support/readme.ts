import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const TEXT = readFileSync(join(import.meta.dirname, '../../../README.md'), 'utf8')

/** The commands that stand below these words in the README, for a shell that is root and has `$COMPOSE`. */
export function commandsBelow(words: string): string {
  const [, after] = TEXT.split(words)
  const [, commands] = /```bash\n(.*?)```/s.exec(after ?? '') ?? []
  if (commands === undefined) throw new Error(`the README has no commands below "${words}"`)
  return commands.replaceAll('docker-compose -f docker-compose.prod.yml', '$COMPOSE').replaceAll('sudo ', '')
}
