import type { OpenPath } from './service-routes.ts'

const METHOD = /^([A-Za-z-]+)\s+(.*)$/
/** Methods as `ServiceRoute` and open paths name them. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'] as const

/** One `/login`, `POST /register` or `/public/*`: below the prefix of its route. */
export function readOpenPath(text: string): OpenPath | { mistake: string } {
  const [, word, rest = ''] = METHOD.exec(text.trim()) ?? []
  const asked = word === undefined ? text.trim() : rest
  const method = word?.toUpperCase()
  if (method !== undefined && !METHODS.some((each) => each === method))
    return { mistake: `begins with a method that is none of ${METHODS.join(', ')}` }
  const isTree = asked.endsWith('/*')
  const path = (isTree ? asked.slice(0, -2) : asked) || '/'
  if (!/^\/[A-Za-z0-9._~/-]*$/.test(path) || /\/\/|\/\.{1,2}(\/|$)/.test(path))
    return {
      mistake:
        'must be a path below the public one, such as /login, POST /register or /public/*: it begins with "/", and has no other "*", no ".." and no query',
    }
  return { method, path, isTree }
}
