import { type GatewayError, invalidRequest } from '../errors.ts'
import { isFieldName } from './heads.ts'

/** A target is one word of bytes (RFC 9112 section 3.2): what could end it is encoded or was never one. */
const PATH = /^[!-~\x80-\xff]+$/
/** They are ours to say: a second one of them is the start of every smuggled request. Upgrades have a way of their own. */
const OWN_FIELDS = new Set(['host', 'content-length', 'transfer-encoding', 'upgrade'])

/** The line that says what is asked, if a client may have said it; or why it cannot be sent. */
export function checkStart(method: string, path: string): GatewayError | undefined {
  // CONNECT asks for a tunnel, and its target is no path.
  if (!isFieldName(method) || method === 'CONNECT') return invalidRequest('The method cannot be forwarded')
  if (!PATH.test(path)) return invalidRequest('The path holds a blank or a control character')
  return undefined
}

/** Names and values in turn, if a client may have named them; or why they cannot be sent. */
export function checkNames(headers: readonly string[]): GatewayError | undefined {
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? ''
    if (!isFieldName(name)) return invalidRequest('The name of a header holds a forbidden character')
    if (OWN_FIELDS.has(name.toLowerCase())) return invalidRequest(`The header "${name}" cannot be forwarded`)
  }
  return undefined
}

/** Whether the body waits until it is asked for (RFC 9110 section 10.1.1). */
export function expectsContinue(headers: readonly string[]): boolean {
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? ''
    if (name.length === 6 && name.toLowerCase() === 'expect')
      return headers[index + 1]?.toLowerCase() === '100-continue'
  }
  return false
}
