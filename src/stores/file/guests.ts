import { storeUnavailable } from '../../errors.ts'
import type { Belongings, GuestCalls, Seats } from '../contracts/guests.ts'
import type { OwnCounts, Place } from '../contracts/places.ts'
import type { TokenStore } from '../contracts/token-store.ts'
import type { Claims } from './claims.ts'
import type { Ledger } from './ledger.ts'
import type { KeptPlaces } from './places.ts'
import type { ServiceRowWrites } from './service-rows.ts'

/** A guest that lives is back long before. */
const BACK_WITHIN_MS = 5_000

export interface FileSeats extends Seats {
  /** This server was that guest until now: what it had is its own. */
  own(guest: string, belongings: Belongings): GuestCalls
  /** Where guests' requests are counted together with those of this server. */
  countIn(counts: OwnCounts): void
}

interface Parts {
  tokens: TokenStore
  ledger: Ledger
  claims: Claims
  places: KeptPlaces
  rows: ServiceRowWrites
}

/** What a guest has here besides its holds. */
interface Seat {
  claims: Set<string>
  places: Map<string, Place>
  /** Its connections: the end of an old one may be heard of after the beginning of the next. */
  links: number
  leaving?: NodeJS.Timeout | undefined
}

const ALONE: Counting = { count: async () => undefined, minutes: async () => [] }

/** Guests of the folder: what they hold stands in the ledger under their names. */
export function openSeats(parts: Parts): FileSeats {
  const { ledger } = parts
  const seats = new Map<string, Seat>()
  let counts: OwnCounts | undefined
  const seatOf = (guest: string): Seat => {
    const seat = seats.get(guest) ?? { claims: new Set(), places: new Map(), links: 0 }
    seats.set(guest, seat)
    return seat
  }
  const giveUp = (guest: string): void => {
    const seat = seatOf(guest)
    try {
      if (!ledger.isClosed) keepThings(parts, { guest, seat }, NOTHING)
      seats.delete(guest)
    } catch {
      // Too much waits for the disk already: what is left is given up a little later.
      seat.leaving = setTimeout(giveUp, BACK_WITHIN_MS, guest).unref()
    }
  }
  const leave = (guest: string): void => {
    const seat = seatOf(guest)
    seat.links = Math.max(0, seat.links - 1)
    if (seat.links === 0) seat.leaving ??= setTimeout(giveUp, BACK_WITHIN_MS, guest).unref()
  }
  const keep = (guest: string, belongings: Belongings): void =>
    keepThings(parts, { guest, seat: seatOf(guest) }, belongings)
  // Their server has ended: they are about to come, or have ended as well.
  for (const [, guest] of ledger.guestHolds()) leave(guest)
  for (const { id, guest } of parts.claims.ofGuests) seatOf(guest).claims.add(id)
  const counting: Counting = {
    count: async (tokenId, window) => {
      if (counts === undefined) throw storeUnavailable('The requests of this token cannot be counted yet')
      return counts.count(tokenId, window)
    },
    minutes: async () => counts?.minutes() ?? [],
  }
  return {
    sit: (guest) => {
      const seat = seatOf(guest)
      seat.links += 1
      clearTimeout(seat.leaving)
      seat.leaving = undefined
      return callsOf(parts, { guest, seat, keep: async (belongings) => keep(guest, belongings), counting })
    },
    leave,
    own: (guest, belongings) => {
      const seat = seatOf(guest)
      clearTimeout(seat.leaving)
      keep(guest, belongings)
      ledger.own(guest)
      seats.delete(guest)
      return callsOf(parts, { guest: undefined, seat, keep: async () => undefined, counting: ALONE })
    },
    countIn: (own) => {
      counts = own
    },
  }
}

const NOTHING: Belongings = { holds: [], claims: [], places: [] }

/** What the guest names is its own from now on, and nothing else. */
function keepThings(
  { ledger, claims, places }: Parts,
  { guest, seat }: { guest: string; seat: Seat },
  { holds, claims: kept, places: taken }: Belongings,
): void {
  const held = new Map(holds.map(({ id, mark }) => [id, mark]))
  for (const [id] of ledger.guestHolds(guest)) {
    const mark = held.get(id)
    if (!held.has(id)) ledger.abandon(id)
    else if (mark) ledger.markAnswered(id, mark.leastMicros, mark.row)
  }
  const known = new Set(kept.map(({ id }) => id))
  for (const id of seat.claims) {
    if (known.has(id)) continue
    // After the holds: whether a key is over is seen by the bill.
    claims.abandon(id)
    seat.claims.delete(id)
  }
  for (const { id, request } of kept) {
    claims.keep(id, request)
    seat.claims.add(id)
  }
  const running = new Set(taken.map(({ id }) => id))
  for (const place of seat.places.values()) {
    if (running.has(place.id)) continue
    seat.places.delete(place.id)
    places.leave(place)
  }
  for (const place of taken) {
    places.keep(place)
    seat.places.set(place.id, place)
  }
}

type Counting = Pick<GuestCalls, 'count' | 'minutes'>

interface Sitting {
  counting: Counting
  /** Undefined: this server itself. */
  guest: string | undefined
  seat: Seat
  keep(belongings: Belongings): Promise<void>
}

function callsOf({ tokens, ledger, claims, places, rows }: Parts, sitting: Sitting): GuestCalls {
  const { guest, seat, keep, counting } = sitting
  return {
    find: tokens.find,
    list: tokens.list,
    lastUsedAt: tokens.lastUsedAt,
    mint: tokens.mint,
    mintAgain: async (token) => {
      const made = await tokens.find(token.hash)
      return made?.user === token.user && made.name === token.name ? made : tokens.mint(token)
    },
    putMaster: tokens.putMaster,
    master: tokens.master,
    revoke: tokens.revoke,
    disable: tokens.disable,
    enable: tokens.enable,
    rotate: tokens.rotate,
    adjust: tokens.adjust,
    credits: tokens.credits,
    hold: (ask) => ledger.hold(ask, guest),
    raise: tokens.raise,
    mark: async (holdId, leastMicros, row) => tokens.markAnswered(holdId, leastMicros, row),
    settle: tokens.settle,
    abandon: async (holdId) => ledger.abandon(holdId),
    noteRows: rows.write,
    noteRowsAgain: rows.writeAgain,
    ...claimsOf(claims, seat),
    enter: async (tokenId, most) => {
      const place = await tokens.enter(tokenId, most)
      if (place) seat.places.set(place.id, place)
      return place
    },
    leave: async (place) => {
      seat.places.delete(place.id)
      places.leave(place)
    },
    adopt: keep,
    ...counting,
    isReady: async () => tokens.isReady(),
    sizes: tokens.sizes,
  }
}

function claimsOf(claims: Claims, seat: Seat): Pick<GuestCalls, 'claim' | 'isKnown' | 'finish' | 'free'> {
  return {
    claim: async (request) => {
      const claim = await claims.claim(request)
      if (claim.state === 'claimed') seat.claims.add(claim.id)
      return claim
    },
    isKnown: (key) => claims.isKnown(key),
    finish: (id, answer) => {
      seat.claims.delete(id)
      return claims.finish(id, answer)
    },
    free: (id) => {
      seat.claims.delete(id)
      return claims.free(id)
    },
  }
}
