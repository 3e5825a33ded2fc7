import t from 'tap'
import { startEcho } from '../support/echo.ts'
import { startGateway } from '../support/gateway.ts'
import { startRawUpstream } from '../support/raw-upstream.ts'
import { refused } from '../support/realtime.ts'
import { servicesFile, writeServices } from '../support/services-file.ts'
import { openSocket } from '../support/sockets.ts'

t.test(
  'a service that restarts, dies or falls silent ends its sockets with a code, and none hangs',
  async (t) => {
    const echo = await startEcho(t, {
      onSocket: (socket, { url }) => {
        if (url === '/restarts') socket.close(1012, 'be right back')
        if (url === '/leaves') socket.close(1001)
        if (url === '/dies') socket.terminate()
      },
    })
    const silent = await startRawUpstream(t)
    const to = `http://127.0.0.1:${echo.port}`
    const gateway = await startGateway(t, {
      modelsFile: servicesFile(t, {
        '/live': { to, auth: 'open' },
        '/silent': { to: `http://127.0.0.1:${silent.port}`, auth: 'open', timeouts: { idleMs: 1000 } },
      }),
    })
    const endOf = async (path: string) => (await openSocket(t, gateway.url + path)).closed
    t.same(await endOf('/live/restarts'), { code: 1012, reason: 'be right back' })
    t.match(await endOf('/live/leaves'), { code: 1001 })
    t.same(await endOf('/live/dies'), { code: 1011, reason: 'the service hung up' })
    t.match(await gateway.waitForLine(({ closeCode }) => closeCode === 1011), { route: '/live', status: 101 })
    const asked = performance.now()
    t.same(await endOf('/silent'), { code: 1001, reason: 'idle timeout' })
    t.ok(performance.now() - asked < 8000, 'by the time of its route, not of all')
    const open = await Promise.all([1, 2, 3].map((count) => openSocket(t, `${gateway.url}/live/${count}`)))
    for (const socket of echo.sockets) socket.destroy()
    for (const { closed } of open) t.match(await closed, { code: 1011 })
  },
)

t.test('a route that leads back to the gateway is refused with 508', async (t) => {
  const path = servicesFile(t, { '/loop': { to: 'http://127.0.0.1:1', auth: 'open' } })
  const gateway = await startGateway(t, { modelsFile: path })
  writeServices(path, { '/loop': { to: `${gateway.url}/loop`, auth: 'open' } })
  gateway.signal('SIGHUP')
  await gateway.waitForLine(({ msg }) => msg === 'models file re-read')
  const seen = await refused(t, { url: `${gateway.url}/loop` })
  t.equal(seen.status, 508)
  t.equal(JSON.parse(seen.body).error.code, 'loop_detected')
})
