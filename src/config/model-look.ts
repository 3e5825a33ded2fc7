/** OpenRouter's variants: the same model on other hosts, with a search of the web, or by a preset. */
const VARIANT = /(?:@preset\/.*|:(?:free|floor|nitro|online|exacto|extended|thinking|beta|auto))+$/

/**
 * What a provider may take a name for that does not tell case, width or blanks apart, and without a variant: two names
 * with one look may be one model there. Only for names that are not listed: what the operator lists is told apart.
 */
export const lookOf = (name: string): string =>
  name.normalize('NFKC').toUpperCase().toLowerCase().replace(/\s+/gu, '').replace(VARIANT, '')
