import { connect } from 'node:net'
import { BODIES } from './service-bodies.ts'
import { HEADS } from './service-heads.ts'
import { PATHS, TARGETS, TRAPS } from './service-paths.ts'

export interface CorpusCase {
  /** What its requests say as `x-case`: the number, and with a plus behind it the second of two. */
  id: string
  name: string
  prefix: string
  bytes: string
}

/** Every path and head of the corpus on every one of these routes; `trapped` has a route below it that nobody here may enter. */
export function buildCorpus(prefixes: readonly string[], trapped: string, credential: string): CorpusCase[] {
  const cases: CorpusCase[] = []
  const add = (kind: string, prefix: string, text: string, target = `${prefix}/a?b=c`) => {
    const id = String(cases.length)
    const known = `${credential}X-Case: ${id}\r\n`
    const bytes = text
      .replaceAll('{a}', () => `Host: gateway\r\n${known}`)
      .replaceAll('{A}', () => `Host: gateway\r\n${credential}X-Case: ${id}+\r\n`)
      .replaceAll('{c}', () => known)
      .replaceAll('{t}', () => target)
    cases.push({
      id,
      prefix,
      bytes,
      name: `${kind} on ${prefix}: ${JSON.stringify(text === GET ? target : text).slice(0, 160)}`,
    })
  }
  for (const prefix of prefixes) {
    for (const [kind, paths] of Object.entries(PATHS))
      for (const path of paths) add(kind, prefix, GET, prefix + path)
    for (const target of TARGETS) add('whole target', prefix, GET, target.replaceAll('{p}', prefix))
    for (const [kind, texts] of Object.entries({ ...HEADS, ...BODIES }))
      for (const text of texts) add(kind, prefix, text)
  }
  for (const path of TRAPS) add('a shut route below', trapped, GET, trapped + path)
  return cases
}

const GET = 'GET {t} HTTP/1.1\r\n{a}\r\n'

/** Bytes behind the last answer that is waited for would come at once. */
const GRACE_MS = 25
const UNFINISHED_MS = 150
const PATIENCE_MS = 5000

/** Sends bytes as they are; resolves with the statuses that came, once there are `count`, or none is to come. */
export function sendBytes(port: number, bytes: string, count: number): Promise<number[]> {
  const methods = Array.from(bytes.matchAll(/(?:^|\n)(HEAD|GET|POST) /g), ([, method]) => method)
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    let answer = ''
    let timer = setTimeout(end, count === 0 ? UNFINISHED_MS : PATIENCE_MS)
    function end() {
      clearTimeout(timer)
      socket.destroy()
      resolve(readStatuses(answer, methods))
    }
    socket.on('connect', () => socket.write(Buffer.from(bytes, 'latin1')))
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1')
      if (count === 0 || readStatuses(answer, methods).length < count) return
      clearTimeout(timer)
      timer = setTimeout(end, GRACE_MS)
    })
    socket.on('error', () => undefined)
    socket.on('close', end)
  })
}

/** The statuses of all whole answers but 1xx. */
function readStatuses(answer: string, methods: readonly (string | undefined)[]): number[] {
  const statuses: number[] = []
  for (let rest = answer; ; ) {
    const end = rest.indexOf('\r\n\r\n')
    if (end < 0) return statuses
    const head = rest.slice(0, end)
    const status = Number(head.slice(9, 12))
    rest = rest.slice(end + 4)
    if (status < 200) continue
    const length =
      methods[statuses.length] === 'HEAD'
        ? 0
        : Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN)
    if (Number.isNaN(length)) {
      const last = rest.indexOf('0\r\n\r\n')
      if (last < 0) return statuses
      rest = rest.slice(last + 5)
    } else {
      if (rest.length < length) return statuses
      rest = rest.slice(length)
    }
    statuses.push(status)
  }
}
