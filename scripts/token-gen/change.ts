import { randomUUID } from 'node:crypto'
import type { TokenView } from '../../src/admin/token-schemas.ts'
import { hashSecret, makeSecret, prefixOf } from '../../src/auth/client.ts'
import { GatewayError } from '../../src/errors.ts'
import { plainName } from '../../src/stores/contracts/names.ts'
import { Failure, Misuse, NoAnswer } from '../command/failures.ts'
import type { Tokens } from './door.ts'
import { readChange, readCredits, readOverlap, readType } from './flags.ts'
import { showCredits, toJson } from './show.ts'

/** Does work through the running server, or over the store. */
export type Over = <T>(work: (tokens: Tokens) => Promise<T>) => Promise<T>

/** The flags that name a token that is there. */
export interface Which {
  id?: string
  type?: string
  userName?: string
  name?: string
}

export interface CreditsWish extends Which {
  add?: string
  debit?: string
  operation?: string
}

/** `--add` and `--debit`: prints the new balance. */
export async function changeCredits(over: Over, wish: CreditsWish, isJson: boolean): Promise<string> {
  const micros = wish.add === undefined ? -readDebit(wish.debit ?? '') : readChange('--add', wish.add)
  const operationId = wish.operation ?? randomUUID()
  if (!/^[\x21-\x7e]{1,128}$/.test(operationId))
    throw new Misuse('--operation must be 1 to 128 printable characters without blanks')
  const token = await over(async (tokens) => {
    const id = await find(tokens, wish)
    try {
      return await tokens.adjust(id, { operationId, micros })
    } catch (error) {
      if (!mayBeDone(error)) throw error
      throw new Failure(
        `${error.message}. Asked again with --id ${id} --operation ${operationId} it is made once`,
      )
    }
  })
  if (isJson) return JSON.stringify(toJson(token))
  const amount = showCredits(Math.abs(micros))
  const done = micros > 0 ? `Added ${amount} credits to` : `Took ${amount} credits from`
  process.stderr.write(`${done} the token ${token.id} of ${token.user}; its balance is now:\n`)
  return showCredits(token.credits.balanceMicros)
}

/** The answer was lost, or Redis has the change and no copy of it yet. */
function mayBeDone(error: unknown): error is Error {
  return error instanceof NoAnswer || (error instanceof GatewayError && error.code === 'store_unavailable')
}

function readDebit(text: string): number {
  const micros = readCredits(text, '--debit')
  if (micros === 0) throw new Misuse('--debit must not be 0')
  return micros
}

/** `--rotate`: prints the new secret, once. */
export async function rotate(
  over: Over,
  id: string,
  overlap: string | undefined,
  isJson: boolean,
): Promise<string> {
  const overlapMs = overlap === undefined ? 0 : readOverlap(overlap)
  const secret = makeSecret()
  const next = { hash: hashSecret(secret), prefix: prefixOf(secret), overlapMs }
  const token = await over((tokens) => tokens.rotate(id, next))
  if (isJson) return JSON.stringify({ secret, ...toJson(token) })
  const old =
    overlapMs === 0 ? 'the old one is no longer valid' : `the old one is valid for another ${overlap}`
  process.stderr.write(`The new secret of ${token.user} (${token.id}), shown this once; ${old}:\n`)
  return secret
}

async function find(tokens: Tokens, wish: Which): Promise<string> {
  if (wish.id !== undefined) return wish.id
  const type = wish.type === undefined ? undefined : readType(wish.type)
  const user = plainName(wish.userName ?? '')
  const matching = (await tokens.list()).filter(
    (token) =>
      token.revokedAt === undefined &&
      plainName(token.user) === user &&
      (wish.name === undefined || plainName(token.name) === plainName(wish.name)) &&
      (type === undefined || token.type === type),
  )
  const [only, ...more] = matching
  if (only === undefined) throw new Failure(`There is no ${describe(wish)}: --list shows all there are`)
  if (more.length === 0) return only.id
  throw new Failure(
    `There are ${matching.length} tokens: name one with --id or --name: ${matching.map(listed).join(', ')}`,
  )
}

function describe({ userName, name, type }: Which): string {
  return `valid ${type ?? ''} token of "${userName}"${name === undefined ? '' : ` named "${name}"`}`.replace(
    '  ',
    ' ',
  )
}

function listed({ id, name }: TokenView): string {
  return name === '' ? id : `${id} (${name})`
}
