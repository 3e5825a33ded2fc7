import { type Accounts, checkMicros } from '../contracts/accounts.ts'
import type { IdempotencyStore } from '../contracts/idempotency.ts'
import type { MinuteCount, Places, SharedCounts } from '../contracts/places.ts'
import type { TokenStore } from '../contracts/token-store.ts'
import type { Tokens } from '../contracts/tokens.ts'
import { NotedRows } from '../noted-rows.ts'
import { Asking, type AskingOptions, type Owned } from './asking.ts'

/** The contracts as the folder's owner keeps them. */
export interface OwnStore extends Owned {
  tokens: TokenStore
  idempotency: IdempotencyStore
}

export interface GuestStore {
  tokens: TokenStore
  idempotency: IdempotencyStore
  /** Requests are counted with those of the server that has the folder, until this one has it. */
  counts: SharedCounts
}

/** A change of servers takes less; beyond it no requests are wanted. */
const ALONE_MS = 3_000
const LOOK_EVERY_MS = 1_000
/** An owner that has not said for so long how it is hangs. */
const SILENT_MS = 4_000
/** An answer to be kept is left out while so much waits to be taken. */
const MOST_UNSENT_BYTES = 32 * 1024 * 1024

const nothing = (): void => undefined

/** Works on the files of another server until they are its own. Throws when nobody serves them to guests. */
export async function openGuestStore<O extends OwnStore>(options: AskingOptions<O>): Promise<GuestStore> {
  const asking = new Asking(options)
  await asking.connect()
  const rows = new NotedRows({
    sink: { write: (batch) => asking.ask('noteRows', [batch]) },
    warn: options.warn,
  })
  const tokens: TokenStore = {
    ...askTokens(asking),
    ...askAccounts(asking),
    ...askPlaces(asking),
    note: (row) => (asking.own ? asking.own.tokens.note(row) : rows.note(row)),
    ...watchOwner(asking, rows),
  }
  return { tokens, idempotency: askKeys(asking), counts: askCounts(asking) }
}

/** What is asked, and of whom. */
type Asker = Pick<Asking<OwnStore>, 'own' | 'things' | 'aloneMs' | 'unsentBytes' | 'ask' | 'close'>

function askTokens(asking: Asker): Tokens {
  const own = () => asking.own?.tokens
  return {
    find: (hash) => own()?.find(hash) ?? asking.ask('find', [hash], nothing),
    list: () => own()?.list() ?? asking.ask('list', [], nothing),
    lastUsedAt: (id) => own()?.lastUsedAt(id) ?? asking.ask('lastUsedAt', [id], nothing),
    mint: (token) => own()?.mint(token) ?? asking.ask('mint', [token], nothing),
    putMaster: (token) => own()?.putMaster(token) ?? asking.ask('putMaster', [token], nothing),
    master: () => own()?.master() ?? asking.ask('master', [], nothing),
    revoke: (id, at) => own()?.revoke(id, at) ?? asking.ask('revoke', [id, at], nothing),
    disable: (id, at) => own()?.disable(id, at) ?? asking.ask('disable', [id, at], nothing),
    enable: (id) => own()?.enable(id) ?? asking.ask('enable', [id], nothing),
    rotate: (rotation) => own()?.rotate(rotation) ?? asking.ask('rotate', [rotation], nothing),
  }
}

function askAccounts(asking: Asker): Accounts {
  const { things } = asking
  const own = () => asking.own?.tokens
  return {
    adjust: (adjustment) => own()?.adjust(adjustment) ?? asking.ask('adjust', [adjustment], nothing),
    credits: (id) => own()?.credits(id) ?? asking.ask('credits', [id], nothing),
    hold: async (ask) => {
      const ours = own()
      if (ours) return ours.hold(ask)
      // JSON has no NaN.
      checkMicros('micros', ask.micros)
      checkMicros('leastMicros', ask.leastMicros)
      const hold = await asking.ask('hold', [ask], (late) => {
        if (late) void asking.ask('abandon', [late.id]).catch(nothing)
      })
      if (hold) things.held(hold.id)
      return hold
    },
    raise: async (id, micros, leastMicros = micros) => {
      const ours = own()
      if (ours) return ours.raise(id, micros, leastMicros)
      checkMicros('micros', micros)
      checkMicros('leastMicros', leastMicros)
      return asking.ask('raise', [id, micros, leastMicros], nothing)
    },
    markAnswered: (id, leastMicros, row) => {
      const ours = own()
      if (ours) return ours.markAnswered(id, leastMicros, row)
      checkMicros('leastMicros', leastMicros)
      if (things.marked(id, { leastMicros, row }))
        void asking.ask('mark', [id, leastMicros, row]).catch(nothing)
    },
    settle: async (id, row) => {
      const ours = own()
      if (ours) return ours.settle(id, row)
      checkMicros('costMicros', row.costMicros)
      const settlement = await asking.ask('settle', [id, row])
      things.settled(id)
      return settlement
    },
  }
}

function askPlaces(asking: Asker): Places {
  const { things } = asking
  const leave: Places['leave'] = (place) => {
    if (asking.own) return asking.own.tokens.leave(place)
    asking.ask('leave', [place]).then(() => things.left(place), nothing)
  }
  return {
    enter: async (tokenId, most) => {
      if (asking.own) return asking.own.tokens.enter(tokenId, most)
      const place = await asking.ask('enter', [tokenId, most], (late) => {
        if (late) leave(late)
      })
      if (place) things.entered(place)
      return place
    },
    leave,
  }
}

function askCounts(asking: Asker): SharedCounts {
  let [minutes, heardAt]: [readonly MinuteCount[], number] = [[], 0]
  const hear = (found: readonly MinuteCount[]): void => {
    minutes = found
    heardAt = performance.now()
  }
  // It may be killed without a word: what it said last counts.
  const timer = setInterval(() => {
    if (asking.own) clearInterval(timer)
    else if (asking.aloneMs === 0) asking.ask('minutes', [], nothing).then(hear, nothing)
  }, LOOK_EVERY_MS).unref()
  return {
    count: (tokenId, window) => (asking.own ? undefined : asking.ask('count', [tokenId, window], nothing)),
    carried: () => {
      const agoMs = performance.now() - heardAt
      return minutes.map((one) => ({ ...one, endsInMs: one.endsInMs - agoMs }))
    },
  }
}

function askKeys(asking: Asker): IdempotencyStore {
  const { things } = asking
  const own = () => asking.own?.idempotency
  return {
    claim: async (request) => {
      const ours = own()
      if (ours) return ours.claim(request)
      const claim = await asking.ask('claim', [request], (late) => {
        if (late.state === 'claimed') void asking.ask('free', [late.id]).catch(nothing)
      })
      if (claim.state === 'claimed') things.claimed(claim.id, request)
      // JSON has no undefined.
      return claim.state === 'answered' ? { ...claim, answer: claim.answer } : claim
    },
    isKnown: (key) => own()?.isKnown(key) ?? asking.ask('isKnown', [key], nothing),
    finish: async (id, answer) => {
      const ours = own()
      if (ours) return ours.finish(id, answer)
      const kept = asking.unsentBytes < MOST_UNSENT_BYTES ? answer : undefined
      await asking.ask('finish', [id, kept])
      things.ended(id)
    },
    free: async (id) => {
      const ours = own()
      if (ours) return ours.free(id)
      await asking.ask('free', [id])
      things.ended(id)
    },
  }
}

/** Whether requests are wanted is what the owner says. */
function watchOwner(asking: Asker, rows: NotedRows): Pick<TokenStore, 'isReady' | 'sizes' | 'close'> {
  let [isOwnerReady, answeredAt, isLooking] = [true, performance.now(), false]
  const look = (): void => {
    if (asking.own || asking.aloneMs > 0 || isLooking) return
    isLooking = true
    const answered = (isReady: boolean): void => {
      ;[isOwnerReady, answeredAt] = [isReady, performance.now()]
    }
    asking
      .ask('isReady', [], answered)
      .then(answered, nothing)
      .finally(() => {
        isLooking = false
      })
  }
  const timer = setInterval(look, LOOK_EVERY_MS).unref()
  return {
    isReady: () =>
      asking.own?.tokens.isReady() ??
      (isOwnerReady && asking.aloneMs < ALONE_MS && performance.now() - answeredAt < SILENT_MS),
    sizes: async () => ({
      ...(await (asking.own?.tokens.sizes() ?? asking.ask('sizes', [], nothing))),
      ...(asking.own ? undefined : { serviceRows: rows.counts() }),
    }),
    close: async () => {
      clearInterval(timer)
      await rows.close()
      await asking.close()
    },
  }
}
