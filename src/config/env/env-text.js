// @ts-check
// Plain JavaScript without dependencies: scripts/preflight.js reads by it before "npm ci", on servers with an old Node.

/**
 * What a `.env` file says, without the lines that are wrong, and what is wrong with those. No text of a mistake repeats a
 * value.
 * @typedef {{ values: Record<string, string>, lines: ReadonlyMap<string, number>, mistakes: string[] }} EnvReading
 */

const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/
/** What Compose 2 replaces; Compose 1 only where a brace follows. */
const REPLACED = /\$[A-Za-z_{$]/
/** More than this in a line is an error of `docker run --env-file`. */
const MOST_LINE_BYTES = 65_535
const BY_FILE = 'or, if it is a secret, have <NAME>_FILE name a file that holds it'

/**
 * Reads a `.env` file in the one way that Compose 1 (python-dotenv), Compose 2 (compose-go), `docker run --env-file` and
 * the gateway have in common. Where they differ nothing is guessed: the line is a mistake, and its text says the spelling
 * that means the same to all. Values of names that are none of ours may be spelt as other programs like it.
 * @param {Uint8Array} bytes @param {(name: string) => boolean} isOurs @returns {EnvReading}
 */
export function readEnvText(bytes, isOurs) {
  const { text, mistake } = decode(bytes)
  if (mistake !== undefined) return { values: {}, lines: new Map(), mistakes: [mistake] }
  /** @type {Map<string, number>} */
  const lines = new Map()
  /** @type {EnvReading & { values: Record<string, string> }} */
  const reading = { values: Object.create(null), lines, mistakes: [] }
  const all = text.split(/\r?\n/)
  let [isInside, last] = [false, -1]
  for (const [index, line] of all.entries()) {
    const entry = index > last ? readLine(line, isOurs) : undefined
    // After a quote that is not closed on its line, what may be its rest is not told of again.
    if (isInside && entry !== undefined && !('name' in entry)) continue
    isInside &&= index <= last
    if (entry === undefined) continue
    const number = index + 1
    if (!('name' in entry)) reading.mistakes.push(`line ${number} ${entry.mistake}`)
    else {
      isInside = entry.open !== undefined
      if (entry.open !== undefined) last = findClosing(all, index, entry.open)
      const isKnown = isOurs(entry.name)
      const mistake = isInside || isKnown ? (entry.mistake ?? findTwice(entry, reading)) : undefined
      // The rest of a secret of several lines may look like a name: only settings are named.
      if (mistake !== undefined)
        reading.mistakes.push(`line ${number}${isKnown ? `, ${entry.name}` : ''}: ${mistake}`)
      else reading.values[entry.name] = entry.value
      lines.set(entry.name, number)
    }
  }
  return { ...reading, values: { ...reading.values } }
}

/**
 * Where a quote is closed that is open at the end of its line: that line itself, where no later one does it.
 * @param {readonly string[]} all @param {number} index @param {string} quote
 */
function findClosing(all, index, quote) {
  const at = all.findIndex((line, each) => each > index && line.includes(quote))
  const behind = all[at]?.slice((all[at]?.indexOf(quote) ?? 0) + 1)
  return behind !== undefined && /^[ \t]*(#.*)?$/.test(behind) ? at : index
}

/**
 * @typedef {{ name: string, value: string, mistake?: string, open?: string }} Entry `mistake`: why the readers differ;
 * `open`: the quote that is not closed on the line
 */

/** @param {Entry} entry @param {EnvReading} reading */
function findTwice({ name, value }, { values, lines }) {
  const before = values[name]
  if (before === undefined || before === '' || before === value) return undefined
  return `it stands in line ${lines.get(name)} as well, with another value: remove one of them`
}

/** @param {Uint8Array} bytes @returns {{ text: string, mistake?: string }} */
function decode(bytes) {
  const way =
    'save it as UTF-8 (in PowerShell: Set-Content -Encoding utf8; in an editor: "Save with encoding")'
  // A byte-order mark is skipped, as all others do.
  const [first, second] = bytes
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff) || bytes.includes(0))
    return { text: '', mistake: `is UTF-16 or no text at all, as ">" of an old PowerShell writes it: ${way}` }
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    if (!/\r(?!\n)/.test(text)) return { text }
    return { text: '', mistake: 'has line ends of an old Mac (CR alone): save it with LF or CRLF' }
  } catch {
    return { text: '', mistake: `line ${findBrokenLine(bytes)} is not UTF-8: ${way}` }
  }
}

/** @param {Uint8Array} bytes */
function findBrokenLine(bytes) {
  const lines = Buffer.from(bytes).toString('latin1').split('\n')
  const isBroken = (/** @type {string} */ line) =>
    Buffer.from(line, 'latin1').toString('utf8').includes('\uFFFD')
  return lines.findIndex(isBroken) + 1
}

/** @param {string} whole @param {(name: string) => boolean} isOurs @returns {Entry | { mistake: string } | undefined} */
function readLine(whole, isOurs) {
  // A line of blanks that do not break, as they come with pasted text, is empty for all readers.
  const line = whole.replace(/^[ \t]+/, '')
  if (/^[\p{Zs}\t]*$/u.test(line) || line.startsWith('#')) return undefined
  const at = line.indexOf('=')
  const name = at < 0 ? line : line.slice(0, at)
  const odd = findInvisible(name)
  if (odd !== undefined) return { mistake: `holds ${odd}: type the line anew` }
  if (Buffer.byteLength(whole) > MOST_LINE_BYTES)
    return { mistake: `is longer than 64 KiB: shorten it, ${BY_FILE}` }
  if (at < 0 || !NAME.test(name)) return { mistake: nameMistake(name, at >= 0, isOurs) }
  const reading = readValue(line.slice(at + 1))
  const said = withoutComment(line.slice(at + 1))
  const hidden = findInvisible(said, line.indexOf(said, at))
  return hidden === undefined
    ? { name, ...reading }
    : { name, ...reading, mistake: `it holds ${hidden}: type the line anew` }
}

/**
 * @param {string} text before the first "=", or the whole line @param {boolean} isAssigned
 * @param {(name: string) => boolean} isOurs
 */
function nameMistake(text, isAssigned, isOurs) {
  if (/^export[ \t]/.test(text))
    return 'begins with "export", which "docker run --env-file" refuses: leave that out'
  const [word] = /^(?:set[xX]?(?=[ \t])|SET(?=[ \t])|declare -x|\$env:)/.exec(text) ?? []
  if (word !== undefined) return `begins with "${word}", which is a word of a shell: leave that out`
  const [, found] = /^["']?([A-Za-z_][A-Za-z0-9_]*)["']?[ \t]*(?::|$)/.exec(text) ?? []
  // A key that was pasted onto a line of its own looks like a name, and is not told.
  const name = found === undefined || isOurs(found) ? found : 'NAME'
  if (name !== undefined && text.includes(':')) return `has a colon for Compose 2 alone: write ${name}=value`
  if (name !== undefined && isAssigned)
    return `has a blank or quotes before its "=", which not everybody takes: write ${name}=value`
  if (name !== undefined) return `is a name and no value: write ${name}=value, or remove it`
  if (isAssigned) return 'has no name before its "=": letters, digits and "_", such as PORT=8088'
  return 'is no NAME=value: put "#" before it if it is a comment'
}

/** Characters that are there and do not show, and blanks that are none: pasted ones, as a rule. */
const INVISIBLE = /[\p{Cf}\p{Cc}\p{Zl}\p{Zp}\u115F\u1160\u3164\uFFA0]|(?![ \t])\p{Zs}/u

/**
 * The first character that nobody sees, in words; undefined: there is none.
 * @param {string} text @param {number} [before] so many characters stand before it on the line
 */
export function findInvisible(text, before = 0) {
  const found = INVISIBLE.exec(text.replaceAll('\t', ' '))
  if (found === null) return undefined
  const code = (found[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')
  return `a character that cannot be seen (U+${code}, at place ${before + found.index + 1})`
}

const COMMENT = /[ \t]+#/
const COMMAND = 'no reader runs a command: write what "$(...)" prints'

/** @param {string} rest what stands after "=" @returns {{ value: string, mistake?: string, open?: string }} */
function readValue(rest) {
  const text = trim(rest)
  if (/^["']/.test(text)) return readQuoted(text)
  const value = unwrap(text)
  if (value.startsWith('$(')) return { value, mistake: COMMAND }
  const way = /\$\{/.test(value) ? BY_FILE.slice(4) : "put it in single quotes, NAME='...'"
  if (/^#([ \t]|$)/.test(text))
    return { value, mistake: 'a comment behind "=" is its value for Compose: give it a line of its own' }
  if (COMMENT.exec(text)?.[0].endsWith('\t#'))
    return { value, mistake: 'a tab before "#" begins no comment for Compose 2: put a blank there' }
  if (REPLACED.test(value)) return { value, mistake: `Compose replaces what begins with "$": ${way}` }
  if (/^[`“”„‟‘’‚‛«»]/.test(value))
    return { value, mistake: 'backticks and typographic quotes are part of the value: remove them' }
  return { value }
}

/** @param {string} text @returns {{ value: string, mistake?: string, open?: string }} */
function readQuoted(text) {
  const quote = text.charAt(0)
  const end = text.indexOf(quote, 1)
  const value = unwrap(text)
  if (end < 0)
    return {
      value,
      mistake: `its quote is not closed on its line: close it, remove it, ${BY_FILE}`,
      open: quote,
    }
  const inner = text.slice(1, end)
  if (inner !== inner.trim())
    return { value, mistake: 'blanks inside the quotes are part of it for Compose: remove them' }
  if (inner.includes('\\'))
    return { value, mistake: 'a backslash in quotes has many readings: write it without quotes' }
  if (!/^[ \t]*(#.*)?$/.test(text.slice(end + 1)))
    return { value, mistake: 'something stands behind the closing quote: remove it, or the quotes' }
  if (/["']/.test(inner))
    return {
      value,
      mistake: `quotes in quotes have many readings: write it without the outer ones, ${BY_FILE}`,
    }
  if (/[ \t]#/.test(inner))
    return {
      value,
      mistake: `" #" in a value begins a comment for some: write it without the blank, ${BY_FILE}`,
    }
  if (inner.startsWith('$(')) return { value, mistake: COMMAND }
  if (inner.includes('${'))
    return { value, mistake: `Compose 1 replaces "\${...}" in any quotes: ${BY_FILE.slice(4)}` }
  if (quote === '"' && REPLACED.test(inner))
    return { value, mistake: 'Compose 2 replaces "$" in double quotes: use single ones' }
  return { value }
}

/** What is the value's of that, without blanks at its end, which all readers take off. @param {string} rest */
function withoutComment(rest) {
  const text = trim(rest)
  const [quoted] = /^(["']).*?\1/.exec(text) ?? []
  const at = text.search(COMMENT)
  return (quoted ?? (at < 0 ? text : text.slice(0, at))).replace(/\p{Zs}+$/u, '')
}

/** @param {string} text */
function trim(text) {
  return text.replace(/^[ \t]+|[ \t]+$/g, '')
}

/**
 * A value as it is meant: `docker run --env-file` and `kubectl --from-env-file` hand quotes and comments of the line on,
 * which Compose takes off.
 * @param {string} raw
 */
export function unwrap(raw) {
  const text = raw.trim()
  const [quoted, , inner] = /^(["'])(.*?)\1[ \t]*(?:#.*)?$/.exec(text) ?? []
  if (quoted !== undefined && inner !== undefined) return inner.trim()
  const at = text.search(COMMENT)
  return at < 0 ? text : text.slice(0, at).trimEnd()
}

/**
 * Whether a value is none of the operator's: for each service of theirs Kubernetes and the links of Docker put
 * `<NAME>_PORT=tcp://10.43.0.5:8088` into every container.
 * @param {string} text
 */
export function isLink(text) {
  return /^(tcp|udp|sctp):\/\//.test(text)
}
