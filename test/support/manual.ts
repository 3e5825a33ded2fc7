import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '..', '..')

/** One fenced block of a page. */
export interface ManualBlock {
  page: string
  line: number
  /** `bash`, `js`, `python`, ...; empty for a picture. */
  language: string
  text: string
  /** Why the test of the manual does not run it, as an HTML comment of the page says. */
  whyNot?: string | undefined
}

export const MANUAL_PAGES: readonly string[] = [
  ...['README.md', 'CONTRIBUTING.md'],
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md'))
    .map((path) => `docs/${path.replaceAll('\\', '/')}`)
    .toSorted(),
]

const NONE_OF_PAGE = /<!-- no block of this page is run by the test of the manual: (.+?) -->/
const BLOCK = /(?:<!-- not run: (.+?) -->\n)?^```(\w*)\n(.*?)^```$/gms

/** The blocks of a page in their order. */
export function readBlocks(page: string, text = readFileSync(join(ROOT, page), 'utf8')): ManualBlock[] {
  const [, whyNone] = NONE_OF_PAGE.exec(text) ?? []
  return Array.from(text.matchAll(BLOCK), (found) => {
    const [, why = whyNone, language = '', block = ''] = found
    const line = text.slice(0, found.index).split('\n').length + (found[1] === undefined ? 0 : 1)
    return { page, line, language, text: block, whyNot: why }
  })
}

/** A file that the reader saves, and the command that runs it: its first line says both. */
export function readProgram({ text }: ManualBlock): { file: string; command: string } | undefined {
  const [, file = '', command = ''] = /^(?:\/\/|#) ([\w.-]+)\b.* run by: (.+)\n/.exec(text) ?? []
  return file === '' ? undefined : { file, command }
}

/** The blocks of a page that a machine without Docker and domains can run. */
export function blocksToRun(page: string): ManualBlock[] {
  return readBlocks(page).filter((block) => RUN.includes(block.language) && whyNotRun(block) === undefined)
}

/** What no comment need say of each block. */
const NEEDS: readonly (readonly [RegExp, string])[] = [
  [/\bdocker(-compose)?\b/, 'Docker: test/edge'],
  [/\bsudo\b|\bsystemctl\b|\bjournalctl\b/, 'a machine of its own'],
  [/\b(supervisorctl|pm2)\b/, 'a supervisor: test/journeys'],
  [/\baws\b|\bkubectl\b/, 'an account of a cloud'],
  [/\bexample\.com\b/, 'a name that leads to the gateway'],
]

/** Why the test of the manual leaves a block out; undefined: it runs it. */
export function whyNotRun({ whyNot, text, language }: Pick<ManualBlock, 'whyNot' | 'text' | 'language'>) {
  if (whyNot !== undefined || language !== 'bash') return whyNot
  return NEEDS.find(([pattern]) => pattern.test(text))?.[1]
}

const RUN = ['bash', 'js', 'python']
