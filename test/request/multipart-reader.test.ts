import fc from 'fast-check'
import t from 'tap'
import { readBoundary } from '../../src/request/multipart-headers.ts'
import { createMultipartReader } from '../../src/request/multipart-reader.ts'

const BOUNDARY = '----form'
const field = (name: string, value: string) =>
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`
const file = (name: string, bytes: string, filename = 'a.wav') =>
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"; filename="${filename}"\r\n` +
  `Content-Type: audio/wav\r\n\r\n${bytes}\r\n`
const END = `--${BOUNDARY}--\r\n`

const read = (body: string | Buffer, sizes: readonly number[] = []) => {
  const reader = createMultipartReader(BOUNDARY)
  const bytes = Buffer.from(body)
  let at = 0
  for (const size of sizes) {
    reader.push(bytes.subarray(at, at + size))
    at = Math.min(bytes.length, at + size)
  }
  reader.push(bytes.subarray(at))
  return reader
}

t.test('fields are found at their very bytes, wherever the chunks break', (t) => {
  const nearMiss = `\r\n--${BOUNDARY.slice(0, -1)}\r\n-\r\n--${BOUNDARY.toUpperCase()}`
  const body =
    `\r\n${field('model', 'whisper-é-1')}${field('empty', '')}` +
    `${file('file', `RIFF${nearMiss}\0\r\n\r\n`, 'ö; name=model; .wav')}${field('prompt', `a${nearMiss}b`)}${END}`
  const bytes = Buffer.from(body)
  const check = (sizes: readonly number[]) => {
    const reader = read(body, sizes)
    t.same(
      reader.fields.map(({ name, value }) => [name, value]),
      [
        ['model', 'whisper-é-1'],
        ['empty', ''],
        ['prompt', `a${nearMiss}b`],
      ],
    )
    for (const { value, start, end } of reader.fields) t.equal(bytes.toString('utf8', start, end), value)
    t.ok(reader.complete && reader.pastHead)
  }
  check([])
  check(bytes.length > 0 ? Array.from(bytes, () => 1) : [])
  fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 30 }), check), { numRuns: 60 })
  t.end()
})

t.test('the head ends where the first file begins, and nothing of a file is kept', (t) => {
  const reader = createMultipartReader(BOUNDARY)
  reader.push(Buffer.from(field('model', 'm')))
  t.notOk(reader.pastHead)
  reader.push(Buffer.from(`${file('file', 'x').slice(0, -2)}`))
  t.ok(reader.pastHead)
  for (let i = 0; i < 200; i++) reader.push(Buffer.alloc(64 * 1024, '-'))
  t.equal(reader.fields.length, 1)
  t.notOk(reader.complete)
  reader.push(Buffer.from(`\r\n${END}`))
  t.ok(reader.complete)
  t.end()
})

t.test('only the disposition names a part: other headers cannot pass a field off as another', (t) => {
  const odd = (headers: string) => read(`--${BOUNDARY}\r\n${headers}\r\n\r\nv\r\n${END}`).fields[0]?.name
  t.equal(odd('X-Note: ; name="prompt"\r\nContent-Disposition: form-data; name="model"'), 'model')
  t.equal(odd('content-disposition:form-data;name=model'), 'model')
  t.equal(odd('X-Note: ; filename="x"\r\nContent-Disposition: form-data; name="model"'), 'model')
  for (const headers of [
    'X-Note: name="model"',
    'Content-Disposition: form-data; name="a"; name="model"',
    'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="model"',
    'Content-Disposition: form-data;\r\n name="model"',
    'Content-Disposition: form-data; name="a"; name*=utf-8\'\'model',
    'Content-Disposition: form-data; name="a"; name*0="mo"; name*1="del"',
    'Content-Disposition: form-data; name="=?utf-8?Q?model?="',
    'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=utf-7',
    'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=utf-16; charset=utf-8',
    'Content-Disposition: form-data; name="x"\r\nContent-Transfer-Encoding: quoted-printable',
    'Content-Disposition: form-data; name="x"\r\nContent-Transfer-Encoding : base64',
  ])
    t.throws(() => odd(headers), { code: 'invalid_request', statusCode: 400 }, JSON.stringify(headers))
  t.end()
})

t.test('the model stands in a form once: a second one could be the one that a provider takes', (t) => {
  const invalid = { code: 'invalid_request', param: 'model' }
  t.throws(() => read(field('model', 'allowed') + field('model', 'forbidden') + END), invalid)
  t.throws(
    () => read(field('model', 'allowed') + file('f', 'x') + field('model', 'forbidden') + END),
    invalid,
  )
  t.throws(() => read(field('model', 'allowed') + file('model', 'forbidden') + END), invalid)
  t.end()
})

t.test('what is no form is refused, what is endless is cut', (t) => {
  const invalid = { code: 'invalid_request', statusCode: 400 }
  t.throws(() => readBoundary('multipart/form-data'), invalid)
  t.throws(() => readBoundary(`multipart/form-data; boundary=${'b'.repeat(71)}`), invalid)
  t.throws(() => read(`--${BOUNDARY}\r\n${'x'.repeat(9000)}`), invalid)
  for (const [name, most] of [
    ['a', 1024 * 1024],
    ['prompt', 256 * 1024],
    ['model', 1024],
  ] as const) {
    t.ok(read(field(name, 'x'.repeat(most)) + END).complete)
    t.throws(() => read(field(name, 'x'.repeat(most + 1)) + END), invalid)
    t.throws(() => read(field(name, 'x'.repeat(most + 100)).slice(0, -2)), invalid, 'before its end')
  }
  t.throws(() => read(field('prompt', 'x'.repeat(200_000)).repeat(2) + END), invalid, 'kept together')
  t.throws(() => read(field('a', 'v').repeat(101) + END), invalid)
  t.notOk(read(field('a', 'v')).complete)
  t.end()
})

t.test('boundaries are read as RFC 2046 writes them', (t) => {
  t.equal(readBoundary('multipart/form-data; boundary=abc'), 'abc')
  t.equal(readBoundary('multipart/form-data; charset=utf-8; Boundary="a b:c"'), 'a b:c')
  t.equal(readBoundary('multipart/form-data;boundary=----=_Part_0;'), '----=_Part_0')
  t.end()
})

t.test('a field that decides rights or money may stand once, as text and as it is spelled', (t) => {
  const names = ['Model', 'MODEL', 'model[]', 'model[0]', 'mo%64el', ' model', 'mode\u217c', 'N', 'n[]']
  for (const name of [...names, '\u017ftream', 'STREAM', 'models', 'route', 'Provider'])
    for (const first of ['', field('model', 'm')])
      t.throws(() => read(`${first}${field(name, 'x')}${END}`), { code: 'invalid_request' }, encodeURI(name))
  t.throws(() => read(`${field('n', '1')}${field('n', '1')}${END}`), { code: 'invalid_request', param: 'n' })
  t.throws(() => read(`${file('model', 'x')}${END}`), { code: 'invalid_request', param: 'model' })
  const fine = `${field('prompt', 'a')}${field('prompt', 'b')}${field('Prompt', 'c')}${field('_charset_', 'UTF-8')}`
  t.equal(read(`${fine}${END}`).fields.length, 4)
  t.throws(() => read(`${field('_charset_', 'utf-7')}${END}`), { code: 'invalid_request' })
  t.end()
})

t.test('a form is UTF-8, whatever its content type and its parts say', (t) => {
  const type = (rest: string) => readBoundary(`multipart/form-data; boundary=x${rest}`)
  for (const rest of ['', '; charset=utf-8', '; Charset="UTF-8"', '; charset=us-ascii'])
    t.equal(type(rest), 'x')
  for (const rest of [
    '; charset=utf-7',
    '; charset=utf-16',
    "; charset*=utf-8''utf-7",
    '; charset=utf-8; charset=x',
  ])
    t.throws(() => type(rest), { code: 'invalid_request' }, rest)
  const part = (headers: string) =>
    read(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n${headers}\r\n\r\nv\r\n${END}`)
      .fields
  t.match(part('Content-Type: text/plain; charset=utf-8'), [{ name: 'model', value: 'v' }])
  t.match(part('Content-Transfer-Encoding: 8bit'), [{ name: 'model', value: 'v' }])
  t.end()
})

t.test('a long field in chunks of one byte is copied a few times and searched once', (t) => {
  const bytes = Buffer.from(`${field('model', 'm')}${field('prompt', 'x'.repeat(60_000))}${END}`)
  const reader = createMultipartReader(BOUNDARY)
  let copied = 0
  const copy = Buffer.prototype.copy
  t.teardown(() => {
    Buffer.prototype.copy = copy
  })
  Buffer.prototype.copy = function (this: Buffer, ...rest: Parameters<typeof copy>) {
    const count = copy.apply(this, rest)
    copied += count
    return count
  }
  for (let at = 0; at < bytes.length; at += 1) reader.push(bytes.subarray(at, at + 1))
  t.ok(reader.complete)
  t.equal(reader.fields[1]?.value.length, 60_000)
  t.ok(copied < 5 * bytes.length, `${copied} bytes copied of ${bytes.length}`)
  t.end()
})

t.test('a content type names one boundary to every reader', (t) => {
  for (const type of [
    'multipart/form-data; boundary=b; boundary*0=c',
    'multipart/form-data; boundary=b; boundary*=c',
    'multipart/form-data; x="; boundary=c"; boundary=b',
    'multipart/form-data; x=boundary=c; boundary=b',
    'multipart/form-data; xboundary=c; boundary=b',
    'multipart/form-data; x-boundary=c; boundary=b',
    'multipart/form-data; boundary=b; x=y',
    'multipart/form-data; boundary=boundary=b',
    'multipart/form-data; boundary=b; boundary=b',
    "multipart/form-data; boundary='b'",
    'multipart/form-data; boundary=" b"',
    'multipart/form-data; boundary="b "',
    'multipart/form-data; boundary=b(c)',
    'multipart/form-data, x; boundary=b',
    'multipart/mixed; boundary=b',
  ])
    t.throws(() => readBoundary(type), { code: 'invalid_request', statusCode: 400 }, type)
  t.end()
})

t.test('a form has one reading: no boundary stands at the start of a line but as a delimiter', (t) => {
  const start = field('model', 'm')
  const more = field('model', 'forbidden')
  const mark = `--${BOUNDARY}`
  const bodies: string[] = [
    `x\r\n${start}${END}`,
    `\n${start}${END}`,
    ` ${start}${END}`,
    `\r\n\r\n${start}${END}`,
    `${more.replaceAll('\r\n', '\n')}\r\n${start}${END}`,
    `${start}${END}${more}${END}`,
    `${start}${END}\r\n`,
    `${start}${END}x`,
    `${start}${mark}--x`,
    `${start}${field('foo', '').slice(0, -2)}${END}`,
    `${start}${mark}\r\nContent-Disposition: form-data; name="foo"\r\n${mark}: x\r\n\r\nv\r\n${END}`,
  ]
  for (const before of ['\n', '\r', '\r\n', '\n\r', ''])
    for (const after of ['\n', '\r', '\rx', 'x', '-x', ' \r\n', '\t', '\0', '\n\r\n'])
      for (const content of [`${before}${mark}${after}`, `a${before || '\n'}${mark}${after}`])
        bodies.push(`${start}${field('foo', content)}${END}`, `${start}${file('file', content)}${END}`)
  for (const body of bodies)
    for (const size of [body.length, 1, 7])
      t.throws(
        () =>
          read(
            body,
            Array.from({ length: Math.ceil(body.length / size) }, () => size),
          ),
        { code: 'invalid_request', statusCode: 400 },
        JSON.stringify(body),
      )
  t.ok(read(`${start}${field('foo', `a ${mark} b`)}${END}`).complete, 'inside a line it is content')
  t.ok(read(`${start}${END.trimEnd()}`).complete)
  t.throws(() => read(`${start}${field('foo', mark.repeat(1) + `x${mark}`.repeat(1001))}${END}`))
  t.end()
})

t.test('what would be read otherwise behind the head stops at the chunk that shows it', (t) => {
  const reader = createMultipartReader(BOUNDARY)
  reader.push(
    Buffer.from(`${field('model', 'm')}${file('file', 'x').slice(0, -2)}\n--${BOUNDARY}`.slice(0, -2)),
  )
  t.throws(() => reader.push(Buffer.from(BOUNDARY.slice(-2))), { code: 'invalid_request' })
  const ended = createMultipartReader(BOUNDARY)
  ended.push(Buffer.from(`${field('model', 'm')}${END}`))
  t.throws(() => ended.push(Buffer.from(field('model', 'forbidden'))), { code: 'invalid_request' })
  t.end()
})

t.test('a field holds no form of its own', (t) => {
  for (const type of [
    'multipart/mixed; boundary=q',
    'Multipart/form-data',
    'message/rfc822',
    ' message/http',
  ])
    t.throws(
      () =>
        read(
          `--${BOUNDARY}\r\nContent-Disposition: form-data; name="foo"\r\nContent-Type: ${type}\r\n\r\nv\r\n${END}`,
        ),
      { code: 'invalid_request', statusCode: 400 },
      type,
    )
  t.end()
})

t.test('a part is named first, and by nothing else, so that every reader finds the same name', (t) => {
  const part = (rest: string) =>
    `--${BOUNDARY}\r\nContent-Disposition: form-data; ${rest}\r\n\r\nforbidden\r\n`
  for (const rest of [
    'x="name=model"; name="foo"',
    'x="; name=model"; name="foo"',
    'x-name="model"; name="foo"',
    'x.name="model"; name="foo"',
    'x=name=model; name="foo"',
    'filename="name=model"; name="foo"',
    'filename="; name=model"; name="foo"',
    'filename="a"; name="foo"',
    'name="foo"; x="; name=model"',
    'name="foo"; x=y',
    'name="foo"; filename*0="name=model"',
    'name="foo"; filename="a\\"; name=\\"model\\""',
    'name="foo"; filename="a\\\\"; filename*="; name=model"',
    'name="foo"; filename="a"; filename="b"',
  ])
    for (const body of [
      `${part(rest)}${field('model', 'm')}${END}`,
      `${field('model', 'm')}${part(rest)}${END}`,
    ])
      t.throws(() => read(body), { code: 'invalid_request', statusCode: 400 }, rest)
  for (const rest of [
    'name="file"; filename="name=model"',
    'name="file"; filename="a \\"b\\".wav"',
    'name="file"; filename="C:\\names\\a.wav"',
    'name="file"; filename="a.wav"; filename*=utf-8\'\'%c3%a4.wav',
    'name=file; filename=a.wav',
  ])
    t.ok(read(`${part(rest)}${field('model', 'm')}${END}`).complete, rest)
  t.end()
})

t.test('the prompt of an image and the voices of speakers may be as long as the provider allows', (t) => {
  const prompt = '字'.repeat(32_000)
  const voice = `data:audio/wav;base64,${'A'.repeat(200_000)}`
  const voices = field('known_speaker_references[]', voice).repeat(4)
  const body = `${field('prompt', prompt)}${voices}${field('model', 'm')}${END}`
  for (const size of [1_000, 65_536]) {
    const { fields } = read(
      body,
      Array.from({ length: Math.ceil(body.length / size) }, () => size),
    )
    t.equal(fields[0]?.value, prompt)
    t.equal(fields.length, 6)
    t.equal(fields[1]?.value, '', 'nobody reads it, so it is not kept')
    const { start = 0, end = 0 } = fields[1] ?? {}
    t.equal(Buffer.from(body).toString('utf8', start, end), voice)
  }
  t.end()
})
