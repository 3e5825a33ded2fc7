import { json } from '../support/behaviour.ts'
import { bearer, credits, post } from '../support/client.ts'
import type { Findings } from './kills.ts'

const PATH = '/v1/images/generations'
/** Its model costs one credit for each image: what is held is what is charged. */
export const CROWD_MODELS = (provider: string) => ({
  picture: { plan: [{ provider }], price: { perImage: 1 } },
})
export const PICTURE = json({ created: 1, data: [{ url: 'https://pictures.example/1' }] })

export interface Crowd {
  /** All on one store. */
  gateways: readonly { port: number }[]
  requests: number
  rounds: number
  /** A new token with so many credits: its secret. */
  mint(creditsOf: number): Promise<string>
}

/** So many requests at once on a balance for 100, over and over: exactly 100 are to pass, and nothing is to be left. */
export async function crowd(
  { gateways, requests, rounds, mint }: Crowd,
  progress = (_: number) => {},
): Promise<Findings> {
  const faults: string[] = []
  for (let round = 0; round < rounds; round++) {
    const token = await mint(100)
    const replies = await Promise.all(
      Array.from({ length: requests }, (_, n) => {
        const gateway = gateways[n % gateways.length] ?? { port: 0 }
        return post(gateway, PATH, { model: 'picture', prompt: 'a crowd' }, bearer(token))
      }),
    )
    const count = (status: number) => replies.filter((reply) => reply.status === status).length
    const [passed, refused] = [count(200), count(429)]
    if (passed !== 100 || passed + refused !== requests)
      faults.push(`round ${round}: ${passed} passed, ${refused} refused of ${requests}`)
    const [first = { port: 0 }] = gateways
    const { credited, balance, held, charged } = await credits(first, token)
    if (balance !== 0 || held !== 0 || charged !== 100 || credited !== 100)
      faults.push(`round ${round}: balance ${balance}, held ${held}, charged ${charged}`)
    progress(round + 1)
  }
  return { faults, figures: `${rounds} rounds of ${requests} requests at once on a balance for 100` }
}
