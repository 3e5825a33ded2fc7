import t from 'tap'
import type { ServiceRoute } from '../../src/config/catalog/service-routes.ts'
import { readPassthroughRoute, readWebsocketRoute } from '../../src/config/catalog/service-short-forms.ts'

type Read = (entry: string) => ServiceRoute | { mistake: string }

const target = (origin: string, basePath = '') => [{ origin, basePath }]
const session = (origin: string, basePath: string, place: 'path' | 'query') => [
  { origin, basePath, session: { name: 'session_id', in: place } },
]

t.test('a short form says a row of the table, with marks at its end in any order', async (t) => {
  const table: [Read, string, Partial<ServiceRoute>][] = [
    [
      readPassthroughRoute,
      '/v1/files/',
      { prefix: '/v1/files', provider: '', keepsPrefix: true, targets: [] },
    ],
    [readPassthroughRoute, '/v1/batches=openai', { provider: 'openai', entry: 'token', serves: 'http' }],
    [readPassthroughRoute, '/v1/x=https://a.example/v2/', { targets: target('https://a.example', '/v2') }],
    [readPassthroughRoute, '/y=http://b.example!insecure', { targets: target('http://b.example') }],
    [
      readPassthroughRoute,
      '/z=http://127.0.0.1:9',
      { targets: target('http://127.0.0.1:9'), cookies: false },
    ],
    [
      readPassthroughRoute,
      '/z=http://b.example !jwt !insecure!cookies',
      { targets: target('http://b.example'), entry: 'jwt', cookies: true },
    ],
    [readPassthroughRoute, '/v1/files!any', { provider: '', entry: 'any' }],
    [readWebsocketRoute, '/ws=ws://backend:8000/ws/', { targets: target('http://backend:8000', '/ws') }],
    [
      readWebsocketRoute,
      '/open/x=wss://x.example/y!open',
      { prefix: '/open/x', targets: target('https://x.example', '/y'), entry: 'open', cookies: true },
    ],
    [
      readWebsocketRoute,
      '/ws=ws://b/ws!cookies!token',
      { entry: 'token', cookies: true, serves: 'websocket' },
    ],
    [
      readWebsocketRoute,
      '/ws=ws://b:8000/ws/{session_id}',
      { targets: session('http://b:8000', '/ws', 'path') },
    ],
    [
      readWebsocketRoute,
      '/ws=ws://b:8000/ws?session_id={session_id}!open',
      { targets: session('http://b:8000', '/ws', 'query'), entry: 'open' },
    ],
  ]
  for (const [read, entry, expected] of table) t.match(read(entry), expected, entry)
})

t.test('a short form that cannot be meant says why, and repeats no URL', async (t) => {
  const table: [Read, string, RegExp][] = [
    [readPassthroughRoute, '/z=http://a.example', /plain HTTP .*end the entry in "!insecure"/],
    [readPassthroughRoute, '/v1/files!open', /would let anybody use a provider's key/],
    [readPassthroughRoute, '/v1/files=openai!open', /would let anybody use a provider's key/],
    [readPassthroughRoute, '/z=', /must name a provider or a URL/],
    [readPassthroughRoute, '/z=https://a.example!opn', /unknown mark \(did you mean "open"\?\)/],
    [readPassthroughRoute, '/z=https://a.example!jwt!open', /says both !open and !jwt/],
    [readPassthroughRoute, '/v1/models=https://a.example!open', /answers or charges itself/],
    [readWebsocketRoute, '/ws=http://x/y', /starts with ws:/],
    [readWebsocketRoute, '/ws/{session_id}=ws://x/ws/{session_id}', /write \/ws, which covers all below it/],
    [readPassthroughRoute, '/api/*=https://a.example', /write \/api, which covers all below it/],
    [readPassthroughRoute, '/=https://a.example', /"\/" would cover the paths of the gateway itself/],
    [readWebsocketRoute, '/ws=ws://me:hunter2@x/y', /without user name/],
    [readWebsocketRoute, '/ws=ws://x/y?session={session_id}', /but for \/\{session_id\} or \?session_id=/],
    [readWebsocketRoute, '/ws=ws://x/y!insecur', /did you mean "insecure"/],
  ]
  for (const [read, entry, expected] of table) {
    const found = read(entry)
    t.match('mistake' in found ? found.mistake : '', expected, entry)
    t.notMatch(JSON.stringify(found), /hunter2/)
  }
})
