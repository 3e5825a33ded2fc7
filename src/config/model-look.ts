/** OpenRouter's variants: the same model on other hosts, with a search of the web, or by a preset. */
const VARIANT = /(?:@preset\/.*|:(?:free|floor|nitro|online|exacto|extended|thinking|beta|auto))$/

/** A name as a provider may read it that does not tell case, width or blanks apart. */
export const lookOf = (name: string): string =>
  name.normalize('NFKC').toUpperCase().toLowerCase().replace(/\s+/gu, '')

/**
 * What a provider may take a name for: its look, and that without one variant after the other. Only for names that are
 * not listed: what the operator lists is told apart.
 */
export const looksOf = (name: string): string[] => {
  const looks = [lookOf(name)]
  for (let look = looks[0] ?? ''; VARIANT.test(look); ) {
    look = look.replace(VARIANT, '')
    looks.push(look)
  }
  return looks
}
