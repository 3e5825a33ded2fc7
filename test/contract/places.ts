import t from 'tap'
import type { Place } from '../../src/stores/contracts/places.ts'
import { newToken, type OpenedStore, type Owner } from './token-store.ts'

/** What every driver must do with the places of running requests. */
export function placesContract(name: string, open: (test: Owner) => Promise<OpenedStore>): void {
  t.test(`${name}: of a hundred requests at once exactly as many get a place as there are`, async (test) => {
    const { store } = await open(test)
    const [one, other] = [await store.mint(newToken(1)), await store.mint(newToken(1))]
    const asked = await Promise.all(Array.from({ length: 100 }, () => store.enter(one.id, 7)))
    const places = asked.filter((place): place is Place => place !== undefined)
    test.equal(places.length, 7)
    test.equal(new Set(places.map(({ id }) => id)).size, 7)
    test.ok(await store.enter(other.id, 1), 'another token has places of its own')
    const [first] = places
    if (first === undefined) return test.fail('no place')
    for (const _ of [1, 2, 3]) store.leave(first)
    test.ok(await store.enter(one.id, 7), 'a place that was left is free')
    test.equal(await store.enter(one.id, 7), undefined, 'and left twice it is one')
  })
}
