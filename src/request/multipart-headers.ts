import { invalidRequest } from '../errors.ts'
import { isPlainType, isUtf8Name } from './body.ts'

/** What the headers of one part of a form say. */
export interface PartHead {
  name: string
  isFile: boolean
}

/** RFC 9110 section 5.6.6; sticky, so that nothing between two parameters is skipped. */
const PARAMETER = /;[ \t]*([\w!#$%&'*+.^`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))[ \t]*/y
/** RFC 2046 section 5.1.1, but for what some readers take for quotes, comments, lists or another parameter. */
const BOUNDARY = /^(?!.*boundary=)(?![ '])[\w'()*+,./:=? -]{0,69}[\w'()*+,./:=?-]$/i
const FORM_TYPE = /^multipart\/form-data[ \t]*(?=;)/i
const DISPOSITION = /^content-disposition:[ \t]*form-data[ \t]*/i

/**
 * The boundary of a `multipart/form-data` content type. No parameter may stand beside it that a reader could take for
 * it, as `boundary*0` or `x="; boundary=c"`. Throws `invalid_request`.
 */
export function readBoundary(contentType: string): string {
  const start = FORM_TYPE.exec(contentType)?.[0].length ?? -1
  const parameters = readParameters(contentType, start)
  const boundary = parameters?.get('boundary')
  const isBare = !contentType.includes(`"${boundary}"`)
  if (boundary === undefined || !BOUNDARY.test(boundary) || (isBare && /[(),]/.test(boundary)))
    throw invalidRequest('The content-type of a form upload must name one plain boundary, once')
  const others = [...(parameters?.keys() ?? [])].filter((key) => key !== 'boundary' && key !== 'charset')
  if (others.length > 0 || !isUtf8Name(parameters?.get('charset') ?? 'utf-8'))
    throw invalidRequest('A form upload must be UTF-8, with nothing but its boundary in its content-type')
  return boundary
}

/**
 * The field's name, and whether it is a file. What a provider's parser could read in another way is refused: it would
 * see another model than the one that was authorised and is paid. Throws `invalid_request`.
 */
export function readPartHead(headers: string): PartHead {
  const lines = headers.split('\r\n').filter((line) => line !== '')
  const dispositions = lines.filter((line) => /^content-disposition/i.test(line))
  const [disposition = ''] = dispositions
  const start = DISPOSITION.exec(disposition)?.[0].length ?? -1
  const parameters = readParameters(disposition, start)
  const name = parameters?.get('name')
  const isOdd = dispositions.length !== 1 || lines.some(isOddLine)
  if (
    isOdd ||
    !parameters ||
    name === undefined ||
    isEncoded(name) ||
    !isPlainDisposition(disposition, parameters)
  )
    throw invalidRequest('Each part of the form needs one plain "Content-Disposition: form-data; name=..."')
  const isFile = parameters.has('filename') || parameters.has('filename*')
  if (!isFile && lines.some(isRecoded))
    throw invalidRequest(
      'The fields of a form must be UTF-8, without another charset, transfer encoding or form inside',
    )
  return { name, isFile }
}

/** Such a name is encoded as MIME has it in headers: some readers decode that. */
function isEncoded(name: string): boolean {
  return name.includes('\\') || name.includes('=?')
}

/**
 * No parameter but those of a form, and the name first: readers that search for `name=` find it there, whatever a file
 * is called. With an escape they do not agree on where a file's name ends, so nothing like a name may follow.
 */
function isPlainDisposition(line: string, parameters: ReadonlyMap<string, string>): boolean {
  const [first, ...others] = parameters.keys()
  if (first !== 'name' || others.some((key) => key !== 'filename' && key !== 'filename*')) return false
  return (
    !line.includes('\\') || [...parameters.values()].slice(1).every((value) => !/name[*\d\s]*=/i.test(value))
  )
}

/** Continued, broken by what is a line end to some, or not named by a token (as a boundary is not). */
function isOddLine(line: string): boolean {
  return /[\r\n\0]/.test(line) || !/^[\w!#$%&'*+.^`|~-]+:/.test(line) || line.startsWith('--')
}

/** A header after which the value stands for other letters than its bytes in UTF-8, or for a form of its own. */
function isRecoded(line: string): boolean {
  const [, name = '', value = ''] = /^([^:]*?)[ \t]*:[ \t]*(.*)$/.exec(line) ?? []
  if (/^content-type$/i.test(name)) return !isPlainType(value) || /^(?:multipart|message)\b/i.test(value)
  return /^content-transfer-encoding$/i.test(name) && !/^(?:7bit|8bit|binary)[ \t]*$/i.test(value)
}

/** Parameters by lower-case name; undefined when the value has another form or names one twice. */
function readParameters(value: string, start: number): Map<string, string> | undefined {
  const parameters = new Map<string, string>()
  if (start < 0) return undefined
  PARAMETER.lastIndex = start
  for (let end = start; ; end = PARAMETER.lastIndex) {
    const match = PARAMETER.exec(value)
    if (!match) return /^[;\s]*$/.test(value.slice(end)) ? parameters : undefined
    const [, name = '', quoted, plain = ''] = match
    const key = name.toLowerCase()
    if (parameters.has(key)) return undefined
    parameters.set(key, quoted ?? plain)
  }
}
