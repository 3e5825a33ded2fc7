import * as v from 'valibot'
import { KNOWN_PROVIDERS } from '../../src/config/catalog/providers.ts'
import { plainSettings } from '../../src/config/env/plain-settings.ts'
import { type Group, WORDS, type Words } from '../../src/config/env/words/words.js'

/** What stands before it in docs/settings.md is written by hand. */
export const MARK =
  '<!-- Made by "npm run docs:settings" from src/config/env/words/: change it there, then run that. -->\n'
const WIDTH = 118

const EXAMPLE_HEAD = `# Copy to .env: everything may stay empty. An empty value counts as unset, what holds then stands in the last brackets.
# How it is read, and every setting with what it takes: docs/settings.md. No quotes, no blanks, no comment behind a value.
# Any secret may come from a file instead: ADMIN_FIRST_FILE=/run/secrets/admin, OPENAI_API_KEY_FILE=...
`

interface Described extends Words {
  name: string
  expects: string
  unset: string
}

/** What the schema knows of a plain setting. */
function readSchema(): Map<string, { expects: string; unset: string | undefined }> {
  return new Map(
    Object.values(plainSettings).map((schema) => {
      const { env, expects } = v.getMetadata(schema.wrapped)
      const usual = v.getDefault(schema)
      return [env[0] ?? '', { expects, unset: usual === undefined ? undefined : `\`${usual}\`` }]
    }),
  )
}

/** Everything that is told of a setting; what nobody has said is a mistake here, not a gap on the page. */
export function describe({ settings }: Group): Described[] {
  const schema = readSchema()
  const addresses = new Map(KNOWN_PROVIDERS.map(({ baseUrlVariable, baseUrl }) => [baseUrlVariable, baseUrl]))
  return Object.entries(settings).map(([name, words]) => {
    const expects = words.expects ?? schema.get(name)?.expects
    const address = addresses.get(name)
    const unset =
      words.unset ?? schema.get(name)?.unset ?? (address === undefined ? undefined : `\`${address}\``)
    if (expects === undefined || unset === undefined)
      throw new Error(`${name}: say in its words what it expects, and what holds without it`)
    return { ...words, name, expects, unset }
  })
}

/** The tables of docs/settings.md. */
export function buildTables(): string {
  return WORDS.map((group) => {
    const rows = describe(group).map(
      ({ name, also = [], unset, expects, means, isSecret }) =>
        `| ${[name, ...also].map((each) => `\`${each}\``).join(', ')}${isSecret ? ' or `…_FILE`' : ''} | ${unset} | ${expects.replaceAll('|', '\\|')} | ${means} |`,
    )
    const head = `## ${group.title}\n\n${group.intro === undefined ? '' : `${group.intro}\n\n`}`
    return `${head}| name | default | what it takes | meaning |\n|---|---|---|---|\n${rows.join('\n')}\n`
  }).join('\n')
}

/** `.env.example`, whole. */
export function buildExample(): string {
  const groups = WORDS.map((group) => {
    const rows = describe(group).filter(({ isLeftOut, expects }) => !isLeftOut || expects.includes('.yml'))
    if (rows.length === 0) return ''
    const intro = group.intro === undefined ? '' : wrap(plain(group.intro))
    return `\n# --- ${group.title} ---\n${intro}${rows.map(buildLine).join('')}`
  })
  return EXAMPLE_HEAD + groups.join('')
}

function buildLine({ name, means, expects, unset, isLeftOut }: Described): string {
  if (isLeftOut) return `${wrap(plain(`${withoutDot(means)} (${unset}).`))}# ${name}=${expects}\n`
  const said = [withoutDot(means), ...(tells(expects) ? [expects] : [])].filter(Boolean).join('; takes ')
  return `${wrap(plain(`${said.charAt(0).toUpperCase()}${said.slice(1)} (${unset}).`))}${name}=\n`
}

function withoutDot(text: string): string {
  return text.replace(/\.$/, '')
}

/** The comment of a line says no ranges, and nothing that its name says. */
function tells(expects: string): boolean {
  return !/^(a whole number from|a folder|a file,|a port$|an address or name|a number$|hours$|its key$)/.test(
    expects,
  )
}

/** Markdown without its marks: names of files instead of links. */
function plain(text: string): string {
  return text.replace(/\[([^\]]+)\]\(([^)#]+)[^)]*\)/g, 'docs/$2').replaceAll('`', '')
}

function wrap(text: string): string {
  const lines = ['#']
  for (const word of text.split(' ')) {
    const line = `${lines.at(-1)} ${word}`
    if (line.length > WIDTH && lines.at(-1) !== '#') lines.push(`# ${word}`)
    else lines[lines.length - 1] = line
  }
  return `${lines.join('\n')}\n`
}
