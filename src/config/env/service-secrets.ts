/** How JWTs are verified; at least one of the three keys is there. */
export interface JwtSettings {
  /** HS256. */
  secret?: string | undefined
  /** PEM (`BEGIN PUBLIC KEY`, `BEGIN CERTIFICATE`) or a JWK in JSON. */
  publicKey?: string | undefined
  jwksUrl?: string | undefined
  /** One of them must be the token's; unset: not looked at. */
  issuer?: string[] | undefined
  audience?: string[] | undefined
  /** By so much clocks may differ. */
  toleranceS: number
}
