import { EventEmitter, once } from 'node:events'
import { bearer } from '../../support/client.ts'
import { ask } from '../../support/scene.ts'
import { DOMAINS } from './deployment.ts'
import type { Edge } from './edge.ts'
import { busyVisitor } from './visitor.ts'

const PER_SECOND = 40

/** So many requests a second, none waiting for another, until the end. */
export function startLoad({ authority }: Edge, token: string) {
  const guest = busyVisitor(authority.root)
  const failed: string[] = []
  const answers = new EventEmitter()
  const flying: Promise<void>[] = []
  const request = { method: 'POST', path: '/v1/chat/completions', headers: bearer(token), body: ask(false) }
  const one = async (name: string) => {
    const reply = await guest.ask(name, request).catch((error: Error) => ({ status: 0, text: error.message }))
    if (reply.status !== 200) failed.push(`${reply.status} ${reply.text.slice(0, 200)}`)
    answers.emit('one')
  }
  const answered = async (count: number) => {
    for (let left = count; left > 0; left--) await once(answers, 'one')
  }
  const timer = setInterval(
    () => flying.push(one(DOMAINS[flying.length % DOMAINS.length] ?? '')),
    1000 / PER_SECOND,
  )
  const end = async () => {
    clearInterval(timer)
    await Promise.all(flying)
    return { sent: flying.length, failed }
  }
  return { answered, end }
}
