import type { Token } from '../stores/contracts/tokens.ts'

/** Somebody whose JWT is verified. */
export interface Person {
  kind: 'person'
  /** Its `sub`: unique among those of one issuer. */
  id: string
  /** Its `iss`; empty where the token names none. */
  issuer: string
  claims: Readonly<Record<string, unknown>>
  /** `id` as a header may hold it (`x-user-id`): no two ids become one. */
  userId: string
  /** All claims as the token has them, as JSON in ASCII (`x-user-claims`). */
  userClaims: string
  /** Milliseconds since 1970: what runs for the person ends then. */
  expiresAt: number
  /** Stands in the place of a secret's hash for whatever runs on (`isStillUsable`). */
  lease: string
}

/** Whom a request of a service is from, once the auth room knows. */
export type Caller =
  | { kind: 'token'; id: string; user: string; token: Token }
  | Person
  /** Nobody was asked; `id` is the client's address. */
  | { kind: 'anybody'; id: string }

/** Where a credential stood that let a request in. */
export type CredentialPlace =
  | 'authorization'
  | 'x-api-key'
  | 'api-key'
  | 'x-goog-api-key'
  | 'subprotocol'
  | 'query'

declare module 'fastify' {
  interface FastifyRequest {
    /** It is set on the routes of services alone, past the auth room. */
    caller: Caller | undefined
    /** Where the caller's credential stood; undefined where nobody was asked. An `authorization` elsewhere is the service's own. */
    credentialIn: CredentialPlace | undefined
  }
}
