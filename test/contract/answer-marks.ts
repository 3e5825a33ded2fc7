import t from 'tap'
import { askOf, type Owner } from '../stores/folders.ts'
import { newToken, type OpenedStore, usageOf } from './token-store.ts'

/** What every driver must do when an answer is marked; `open` is the same as for `accountsContract`. */
export function answerMarksContract(name: string, open: (test: Owner) => Promise<OpenedStore>): void {
  t.test(
    `${name}: an answer marked twice at once costs its first least when the process dies`,
    async (test) => {
      const opened = await open(test)
      const { id } = await opened.store.mint(newToken(1000))
      const [up, down] = [await opened.store.hold(askOf(id, 100)), await opened.store.hold(askOf(id, 100))]
      for (const least of [4, 41]) opened.store.markAnswered(up?.id ?? 0, least, usageOf(id, least))
      for (const least of [30, 3]) opened.store.markAnswered(down?.id ?? 0, least, usageOf(id, least))
      test.match(await (await opened.reopen()).credits(id), {
        chargedMicros: 34,
        balanceMicros: 966,
        heldMicros: 0,
      })
    },
  )
}
