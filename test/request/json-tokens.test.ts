import t from 'tap'
import { PAID_FIELDS } from '../../src/request/guarded-fields.ts'
import { JsonScan } from '../../src/request/json-scan.ts'

const scanOf = (text: string): JsonScan => {
  const scan = new JsonScan(PAID_FIELDS)
  scan.push(Buffer.from(text))
  scan.end()
  return scan
}

t.test(
  'however many items name a model, little is kept of them, and more than anybody sends are refused',
  (t) => {
    const lists: [string, string, string][] = [
      ['tools', '{"model":"m"}', 'tools.model'],
      ['tools', '[[{"model":"m"}]]', 'tools.model'],
      ['tools', '{"model":null}', 'tools.model'],
      ['stream_options', '{"include_usage":true}', 'stream_options.include_usage'],
    ]
    for (const [name, item, param] of lists) {
      const body = (items: number) => `{"model":"m","${name}":[${`${item},`.repeat(items - 1)}${item}]}`
      t.equal(scanOf(body(128)).found.length, 130)
      const scanner = new JsonScan(PAID_FIELDS)
      const many = Buffer.from(body(700_000))
      t.throws(() => scanner.push(many), { code: 'invalid_json', param }, item)
      t.ok(scanner.found.length < 200, `${scanner.found.length} are kept`)
    }
    t.end()
  },
)
