export const HIDDEN = '[redacted]'

/** Names under which a secret, a prompt or a query string would stand, whatever their value. */
const SECRET_NAME =
  /^(proxy-?authorization|authorization|x-api-key|api[-_]?key|token|token[-_]?secret|secret|(set-)?cookie|password|master[-_]?token|headers?|raw[-_]?headers|body|payload|query|url|prompt|messages?|input)$/i

/** Tokens of ours and of the known providers; none of them crosses a line's end. */
const SECRET_TEXT =
  /gw-[A-Za-z0-9_-]{20,}|sk[-_][A-Za-z0-9_-]{16,}|gsk_[A-Za-z0-9]{16,}|xai-[A-Za-z0-9]{16,}|AIza[A-Za-z0-9_-]{20,}|[Bb]earer +[^\s"\\]+/g

export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name)
}

/** Takes credentials out of a text, be it one field or many finished lines; `known` are exact secrets. */
export function buildRedactor(known: readonly string[]): (text: string) => string {
  // Short values would tear holes into ordinary words. In a finished line, a secret stands as JSON escapes it.
  const long = known.filter((secret) => secret.length >= 8)
  const exact = new Set([...long, ...long.map((secret) => JSON.stringify(secret).slice(1, -1))])
  return (text) => {
    let clean = text.replace(SECRET_TEXT, HIDDEN)
    for (const secret of exact) if (clean.includes(secret)) clean = clean.replaceAll(secret, HIDDEN)
    return clean
  }
}
