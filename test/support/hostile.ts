/** The error code of a body, when it has exactly the four keys that clients parse. */
export function codeOf(body: string): unknown {
  const { error } = JSON.parse(body)
  return Object.keys(error).join() === 'message,type,param,code' ? error.code : `odd shape: ${body}`
}

/** The status of an answer as it came over the wire. */
export function statusOf(answer: string): number {
  return Number(answer.slice(9, 12))
}
export function bodyOf(answer: string): string {
  return answer.slice(answer.indexOf('\r\n\r\n') + 4)
}
