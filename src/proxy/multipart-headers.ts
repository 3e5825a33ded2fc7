import { invalidRequest } from '../errors.ts'

/** What the headers of one part of a form say. */
export interface PartHead {
  name: string
  isFile: boolean
}

/** RFC 9110 section 5.6.6; sticky, so that nothing between two parameters is skipped. */
const PARAMETER = /;[ \t]*([\w!#$%&'*+.^`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))[ \t]*/y
/** What a boundary is made of in practice (RFC 2046 section 5.1.1 allows less). */
const BOUNDARY = /^[!#-[\]-~ ]{0,69}[!#-[\]-~]$/
const DISPOSITION = /^content-disposition:[ \t]*form-data[ \t]*/i

/** The boundary of a `multipart/form-data` content type. Throws `invalid_request`. */
export const readBoundary = (contentType: string): string => {
  const boundary = readParameters(contentType, contentType.indexOf(';'))?.get('boundary')
  if (boundary === undefined || !BOUNDARY.test(boundary))
    throw invalidRequest('The content-type of a form upload must name its boundary, once')
  return boundary
}

/**
 * The field's name, and whether it is a file. What a provider's parser could read in another way is refused: it would
 * see another model than the one that was authorised and is paid. Throws `invalid_request`.
 */
export const readPartHead = (headers: string): PartHead => {
  const lines = headers.split('\r\n').filter((line) => line !== '')
  const dispositions = lines.filter((line) => /^content-disposition/i.test(line))
  const [disposition = ''] = dispositions
  const start = DISPOSITION.exec(disposition)?.[0].length ?? -1
  const parameters = readParameters(disposition, start)
  const name = parameters?.get('name')
  const isOdd = dispositions.length !== 1 || lines.some((line) => /^[ \t]|[\r\n\0]/.test(line))
  if (isOdd || !parameters || name === undefined || name.includes('\\') || parameters.has('name*'))
    throw invalidRequest('Each part of the form needs one plain "Content-Disposition: form-data; name=..."')
  return { name, isFile: parameters.has('filename') || parameters.has('filename*') }
}

/** By lower-case name; undefined when the value has another form or names one twice. */
const readParameters = (value: string, start: number): Map<string, string> | undefined => {
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
