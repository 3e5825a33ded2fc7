// @ts-check
// Plain JavaScript without dependencies, as env-text.js beside it.

/** @type {Readonly<Record<string, number>>} */
const MILLISECONDS = { ms: 1, s: 1000, sec: 1000, m: 60_000, min: 60_000, h: 3_600_000 }
/** @type {Readonly<Record<string, number>>} */
const BYTES = { b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 }

/**
 * How a number is written that was meant by `30s`, `64MB`, `1_000`, `1e3`, `8088/tcp` or full-width digits: ": write
 * 30000", to follow what is wrong. Empty where nobody can tell, and where it is written so: what is wrong is its size.
 * @param {string} name of the setting, whose end is its unit @param {string} text
 */
export function suggestNumber(name, text) {
  const meant = readMeant(name, text.normalize('NFKC').trim().toLowerCase())
  return Number.isSafeInteger(meant) && String(meant) !== text.trim() ? `: write ${meant}` : ''
}

/** @param {string} name @param {string} text @returns {number | undefined} */
function readMeant(name, text) {
  if (/^\d+$/.test(text)) return Number(text)
  if (/^\d{1,3}([_,' ]\d{3})+$/.test(text)) return Number(text.replace(/\D/g, ''))
  if (/^\d+(\.\d+)?e\+?\d{1,2}$/.test(text)) return Number(text)
  const [, port] = /^(\d+)\/(?:tcp|udp)$/.exec(text) ?? []
  if (port !== undefined) return Number(port)
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?) ?([a-z]+)$/.exec(text) ?? []
  if (name.endsWith('_MS'))
    return Number(number) * (MILLISECONDS[unit.replace(/^seconds?$/, 's')] ?? Number.NaN)
  const [, prefix = ''] = /^([kmgtb])(?:i?b)?$/.exec(unit) ?? []
  return name.includes('_BYTES') ? Number(number) * (BYTES[prefix] ?? Number.NaN) : undefined
}
