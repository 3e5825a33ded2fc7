import t from 'tap'
import { hostsOf, maskPrivate } from '../../src/upstream/private-text.ts'

const hosts = hostsOf('https://llm.example.net:8443')
const masked = (text: string) => maskPrivate(Buffer.from(text), hosts).toString()

t.test('an error names no key, account, address or host of the operator', async (t) => {
  for (const secret of [
    'sk-proj-abcd1234efgh',
    'sk-ab…wxyz',
    'sk-abcd********wxyz',
    'xa***AB',
    'key-ab...wxyz',
    'fw_12345678abcd',
    'gsk_12345678abcd',
    'AIzaSyA1234567890',
    'org-AbCd1234EfGh',
    'proj_1234abcd5678',
    'wrkspc_01VQLazKdXNeiKgt',
    'team 6f8c1247-b44f-478b-b12b-ad61437594f0',
    'project number 123456789012',
    'projects/123456789012',
    'owner@example.com',
    '10.0.0.5:8000',
    '[fd00::1]:8000',
    'vllm.models.svc.cluster.internal:8000',
    'localhost:11434',
    'llm.example.net:8443',
    'llm.example.net',
  ]) {
    const text = `{"error":{"message":"It was refused for ${secret}, said the provider"}}`
    const seen = masked(text)
    const names = /for (.*), said/.exec(seen)?.[1] ?? ''
    t.match(names, /\*{2}/, `${secret} -> ${names}`)
    for (const part of secret.split(/[^A-Za-z0-9]+/).filter((each) => each.length > 7 && /\d/.test(each)))
      t.notOk(names.includes(part), `${secret} -> ${names}`)
    t.equal(Buffer.byteLength(seen), Buffer.byteLength(text))
  }
})

t.test('what helps a client stays as it was, to the byte', async (t) => {
  for (const text of [
    'max_tokens: 300000 > 128000, which is the maximum allowed for claude-opus-4-5-20251101',
    "Unknown parameter: 'user_message_limit'. See https://platform.openai.com/docs/api-reference/chat",
    '"The model `gpt-4o-mini-2024-07-18` does not exist or you do not have access to it."',
    'messages.0.content.1: Input should be a valid dictionary, got 1.5 of 2.5.1',
    'Use **bold** text, key: value and team work; a project (4 of 5)',
    'ümläut 😀',
    "Invalid type for 'messages[128].content[1024]': expected a string",
    "In context=('properties', 'key_points'), 'required' has to include every key, also 'key-value'.",
  ]) {
    const bytes = Buffer.from(text)
    t.equal(maskPrivate(bytes, hosts), bytes, text)
  }
  const start = performance.now()
  for (const letter of ['a', '*', '1.', '-', '[', '@', 'a.', 'sk-', 'team '])
    maskPrivate(Buffer.from(letter.repeat(65_536 / letter.length)), hosts)
  t.ok(performance.now() - start < 2000, 'no text makes it slow')
  t.same(hostsOf('nonsense'), [])
})
