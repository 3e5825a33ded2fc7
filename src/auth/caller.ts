import type { Token } from '../stores/contracts/tokens.ts'

/** Whom a request of a service is from, once the auth room knows. */
export type Caller =
  | { kind: 'token'; id: string; user: string; token: Token }
  /** Somebody whose JWT is verified: `id` is its `sub`. */
  | { kind: 'person'; id: string; issuer: string; claims: Readonly<Record<string, unknown>> }
  /** Nobody was asked; `id` is the client's address. */
  | { kind: 'anybody'; id: string }

declare module 'fastify' {
  interface FastifyRequest {
    /** It is set on the routes of services alone, past the auth room. */
    caller: Caller | undefined
  }
}
