import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Entry, FoundRoute, ServiceRoute } from '../config/catalog/service-routes.ts'
import { asError, type GatewayError, invalidApiKey, keyDisabled, notFound } from '../errors.ts'
import type { Tokens } from '../stores/contracts/tokens.ts'
import type { Person } from './caller.ts'
import {
  createAddressGuard,
  describeOddity,
  findToken,
  fitSecret,
  hashSecret,
  INVALID_KEY,
  isUsable,
} from './client.ts'
import type { JwtCheck } from './jwt.ts'
import { buildJwtRefusal, missingJwt } from './jwt-refusal.ts'
import { isJwt } from './jwt-text.ts'
import type { Refused } from './jwt-verifier.ts'
import { type Credential, isPlaceOfJwts, readServiceCredential } from './service-credential.ts'
import { checkPersonRights, checkTokenRights } from './service-rights.ts'

export interface ServiceAuthOptions {
  /** Who may enter the routes of this scope. */
  entry: Entry
  tokens: Pick<Tokens, 'find'>
  jwt: JwtCheck
  /** What the guard has found. */
  serviceOf(request: FastifyRequest): FoundRoute | undefined
  /** It is called before a request without a valid credential is refused, and may throw another refusal. */
  onRefused?(request: FastifyRequest): Promise<void> | void
  now?: () => number
}

const MISSING_TOKEN = 'Send your token as "Authorization: Bearer <token>" or "x-api-key: <token>".'
const MISSING_ANY =
  'Send your token or JWT as "Authorization: Bearer <token>", a token also as "x-api-key: <token>".'
const DISABLED = 'This token is disabled. Ask whoever runs the gateway to enable it.'

/**
 * Who calls a service: sets `request.caller`, for a token also `request.token`, and `request.secretHash` for whoever may
 * lose the right while an answer or a socket runs. Or turns the request away. It takes the place of `client-auth` in its scope.
 */
export const serviceAuth = fp<ServiceAuthOptions>(
  async (app, options) => {
    app.decorateRequest('token')
    app.decorateRequest('secretHash', '')
    if (!app.hasRequestDecorator('caller')) app.decorateRequest('caller')
    if (!app.hasRequestDecorator('credentialIn')) app.decorateRequest('credentialIn')
    const door = new ServiceDoor(options)
    app.addHook('onRequest', (request, _reply, done) => {
      let admitting: Promise<void> | undefined
      try {
        admitting = door.admit(request)
      } catch (error) {
        return done(asError(error))
      }
      if (admitting === undefined) done()
      else admitting.then(() => done(), done)
    })
  },
  { name: 'client-auth' },
)

/** The door of all routes of one entry. */
class ServiceDoor {
  readonly #options: ServiceAuthOptions
  readonly #now: () => number
  readonly #guardAddress = createAddressGuard()

  constructor(options: ServiceAuthOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
  }

  /** Undefined when it is done: for a JWT that was seen before, and where nobody is asked. */
  admit(request: FastifyRequest): Promise<void> | undefined {
    const { entry, serviceOf } = this.#options
    if (entry === 'open') {
      request.caller = { kind: 'anybody', id: request.ip }
      return undefined
    }
    const route = serviceOf(request)?.route
    if (route === undefined) throw notFound('There is no such path any more.')
    const { takesQueryKey, requestHeaders } = route
    const credential = readServiceCredential(request.headers, {
      isAuthorizationLast: requestHeaders.pass.includes('authorization'),
      queryKey: takesQueryKey ? request.queryKey : undefined,
      takes: entry,
    })
    if (credential === undefined) return this.#refuse(request, buildMissing(entry, request.headers))
    const isPersons =
      entry === 'jwt' || (entry === 'any' && isPlaceOfJwts(credential) && isJwt(credential.text))
    return isPersons
      ? this.#admitPerson(request, route, credential)
      : this.#admitToken(request, route, credential)
  }

  #admitPerson(request: FastifyRequest, route: ServiceRoute, sent: Credential): Promise<void> | undefined {
    const verdict = this.#options.jwt.verify(sent.text)
    if (!(verdict instanceof Promise)) return this.#enter(request, route, { verdict, sent })
    return verdict.then((late) => this.#enter(request, route, { verdict: late, sent }))
  }

  #enter(
    request: FastifyRequest,
    route: ServiceRoute,
    { verdict, sent }: { verdict: Person | Refused; sent: Credential },
  ): Promise<void> | undefined {
    if (verdict.kind === 'refused') return this.#refuse(request, buildJwtRefusal(verdict.reason))
    checkPersonRights(route, verdict)
    request.caller = verdict
    request.credentialIn = sent.place
    request.secretHash = verdict.lease
    return undefined
  }

  async #admitToken(request: FastifyRequest, route: ServiceRoute, sent: Credential): Promise<void> {
    const secret = fitSecret(sent.text)
    const hash = secret === undefined ? '' : hashSecret(secret)
    const token = secret === undefined ? undefined : await findToken(this.#options.tokens, hash)
    const at = this.#now()
    if (token === undefined || !isUsable(token, hash, at)) {
      if (token && isUsable({ ...token, disabledAt: undefined }, hash, at)) throw keyDisabled(DISABLED)
      return this.#refuse(request, invalidApiKey(INVALID_KEY + describeOddity(request.headers)))
    }
    this.#guardAddress(token, request.ip)
    checkTokenRights(route, token)
    request.token = token
    request.secretHash = hash
    request.caller = { kind: 'token', id: token.id, user: token.user, token }
    request.credentialIn = sent.place
  }

  /** Whoever tries too often is told so in its place. */
  async #refuse(request: FastifyRequest, error: GatewayError): Promise<never> {
    await this.#options.onRefused?.(request)
    throw error
  }
}

function buildMissing(entry: Entry, headers: IncomingHttpHeaders): GatewayError {
  if (entry === 'jwt') return missingJwt(describeOddity(headers))
  return invalidApiKey((entry === 'any' ? MISSING_ANY : MISSING_TOKEN) + describeOddity(headers))
}
