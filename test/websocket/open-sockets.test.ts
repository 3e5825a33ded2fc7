import t from 'tap'
import { OpenSockets } from '../../src/websocket/open-sockets.ts'

// Its clock keeps no process alive; a server's sockets do.
const alive = setInterval(() => {}, 1000)
t.teardown(() => clearInterval(alive))

/** A socket that tells when it was closed, and how often it was looked at. */
function watched() {
  const { promise, resolve } = Promise.withResolvers<number>()
  let ticks = 0
  const tick = (): void => {
    ticks += 1
  }
  return { socket: { close: (code: number) => resolve(code), tick }, closed: promise, ticks: () => ticks }
}

t.test('a socket ends with the secret that opened it, whichever of its token’s that was', async (t) => {
  const sockets = new OpenSockets({ perHolder: 10, isUsable: async (hash) => hash === 'new' })
  t.teardown(() => sockets.close())
  const [before, early, after, open] = [watched(), watched(), watched(), watched()]
  sockets.enter({ key: 'token', secretHash: 'new' }, before.socket)
  sockets.enter({ key: 'token', secretHash: 'old' }, early.socket)
  sockets.enter({ key: 'token', secretHash: 'new' }, after.socket)
  sockets.enter({ key: 'address:::1', secretHash: undefined }, open.socket)
  t.equal(await early.closed, 1008)
  const others = Promise.race([before.closed, after.closed, open.closed])
  t.equal(await Promise.race([others, Promise.resolve('open')]), 'open')
  t.ok(open.ticks() > 0)
})

t.test('a store that cannot be asked closes nobody; a place given back is free', async (t) => {
  const asked = Promise.withResolvers<void>()
  const isUsable = async (): Promise<boolean> => {
    asked.resolve()
    throw new Error('the store is down')
  }
  const sockets = new OpenSockets({ perHolder: 1, isUsable })
  t.teardown(() => sockets.close())
  const [first, second] = [watched(), watched()]
  const holder = { key: 'token', secretHash: 'a' }
  const leave = sockets.enter(holder, first.socket)
  t.throws(() => sockets.enter(holder, second.socket), { code: 'rate_limit_exceeded' })
  await asked.promise
  t.equal(await Promise.race([first.closed, Promise.resolve('open')]), 'open')
  leave()
  t.ok(sockets.enter(holder, second.socket))
})
