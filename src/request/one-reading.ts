import { type GatewayError, invalidJson, invalidRequest } from '../errors.ts'
import { FORM_FIELDS, foldName } from './guarded-fields.ts'

/** The charsets in which every reader sees what is checked here. */
const CHARSET = /^(?:utf-?8|us-ascii)$/i

export function isUtf8Name(charset: string): boolean {
  return CHARSET.test(charset)
}
/** What follows the media type; one `;` more at the end is common. */
const PARAMETERS = /^(?:[ \t]*;[ \t]*[\w!#$%&'*+.^`|~-]+=(?:[^\s;,"\\]+|"[^"\\]*"))*[ \t]*;?[ \t]*$/
const PARAMETER = /;[ \t]*([^=]+)=(?:"([^"]*)"|([^\s;]+))/g

/**
 * Why a JSON body of this content type is refused: a reader could take its bytes for other letters than UTF-8 has them
 * for, by another charset, a second one, or words that readers split in different ways.
 */
export function findTypeMistake(contentType: string | undefined): GatewayError | undefined {
  // Nearly every request.
  if (contentType === 'application/json' || contentType === undefined || isPlainType(contentType))
    return undefined
  return invalidJson('Send JSON as "content-type: application/json" in UTF-8, without another charset')
}

/** Whether a content type names no charset but UTF-8, in words that all readers split alike. */
export function isPlainType(contentType: string): boolean {
  const start = contentType.indexOf(';')
  if (start === -1) return !contentType.includes(',')
  const parameters = contentType.slice(start)
  if (contentType.slice(0, start).includes(',') || !PARAMETERS.test(parameters)) return false
  const charsets = [...parameters.matchAll(PARAMETER)].filter(([, name = '']) => /^charset/i.test(name))
  const [charset] = charsets
  if (!charset) return !/charset/i.test(parameters)
  const [, name = '', quoted, bare = ''] = charset
  const isAlone = charsets.length === 1 && parameters.match(/charset/gi)?.length === 1
  return isAlone && /^charset$/i.test(name) && isUtf8Name(quoted ?? bare)
}

/**
 * Refuses a query that names what the body decides: some servers (LiteLLM) believe `?model=` before the body. Throws
 * `invalid_request`.
 */
export function checkQuery(url: string): void {
  const start = url.indexOf('?')
  if (start === -1) return
  for (const pair of url.slice(start + 1).split(/[&;]/)) {
    const param = FORM_FIELDS.byFold.get(foldFormName(decode(pair.split('=', 1)[0] ?? '')))?.path
    if (param !== undefined)
      throw invalidRequest(`Send "${param}" in the body alone, not in the query`, { param })
  }
}

/** What a reader may take the name of a form field for: `model[]` is a model too. */
export function foldFormName(name: string): string {
  const bracket = name.indexOf('[', 1)
  return foldName(decode(bracket === -1 ? name : name.slice(0, bracket)))
}

function decode(text: string): string {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch {
    return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  }
}
