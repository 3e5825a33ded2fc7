import type { Remark } from './lists.ts'

/** One `*` at most, and that in the first label. */
const ORIGIN =
  /^([a-z][a-z0-9+.-]*):\/\/((?:[a-z0-9_-]*\*[a-z0-9_-]*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(\d{1,5}))?$/
const DEFAULT_PORTS: Readonly<Record<string, string>> = { http: '80', https: '443' }

/** One browser origin as a browser spells it: lower case, without a default port. */
export function readOrigin(entry: string): string | Remark<string> {
  if (entry === '*') {
    return { mistake: 'would let every web page in: name your origins, such as https://app.example.com' }
  }
  if (/<[^<>]*>/.test(entry)) {
    return {
      warning: 'is still a placeholder: it lets nobody in until your own name stands in place of <...>',
    }
  }
  const [match, scheme = '', host = '', port] = ORIGIN.exec(entry.toLowerCase()) ?? []
  if (!match) return { mistake: describeWrong(entry) }
  if (Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535)
    return { mistake: 'must have a port from 1 to 65535' }
  const value = `${scheme}://${host}${port && port !== DEFAULT_PORTS[scheme] ? `:${Number(port)}` : ''}`
  const [label = '', ...rest] = host.split('.')
  return label.includes('*') ? checkWildcard(label, { suffix: rest.join('.'), value }) : value
}

/** What hinders an entry, the likeliest first. */
function describeWrong(entry: string): string {
  const origin = URL.parse(entry)?.origin
  if (entry.toLowerCase() === 'null')
    return 'must be an origin: "null" is what every sandboxed page and every file sends, so it would let all of them in'
  if (/^[a-z][a-z0-9+.-]*:\/\/[^/?#@]+\/$/i.test(entry))
    return 'must be an origin: browsers send it without a final slash, remove that'
  if (/^[a-z0-9*][a-z0-9.*-]*(:\d+)?$/i.test(entry))
    return 'must be an origin, which begins with its scheme: put https:// before it'
  if (/\*.*\*/.test(entry)) return 'must be an origin with one "*" at most, in its first label'
  if (/:\*$/.test(entry)) return 'must be an origin: a port is a number, name each'
  if (entry.includes('*'))
    return 'must be an origin with its "*" in the first label: https://*.example.com, https://app-*.example.com'
  if (
    origin !== undefined &&
    origin !== 'null' &&
    !/[@]/.test(entry) &&
    /^https?:\/\/[\x21-\x7e]+$/i.test(entry)
  )
    return 'must be an origin: scheme, name and port alone, no path and no "?"'
  return 'must be an origin such as https://app.example.com or https://*.example.com: no path, no user, other alphabets as xn--...'
}

/** Suffixes under which anyone can have a name within a minute. */
const SHARED_HOSTING = new Set(
  `vercel.app netlify.app pages.dev github.io herokuapp.com web.app onrender.com fly.dev workers.dev gitlab.io firebaseapp.com azurewebsites.net cloudfront.net surge.sh railway.app amplifyapp.com run.app a.run.app up.railway.app lovable.app replit.app replit.dev repl.co trycloudflare.com azurestaticapps.net appspot.com s3.amazonaws.com blob.core.windows.net web.core.windows.net r2.dev hf.space streamlit.app glitch.me codesandbox.io csb.app webcontainer.io stackblitz.io github.dev app.github.dev gitpod.io framer.app framer.website webflow.io bolt.host base44.app v0.app vusercontent.net wixsite.com myshopify.com blogspot.com wordpress.com deta.app koyeb.app northflank.app ondigitalocean.app digitaloceanspaces.com storage.googleapis.com loca.lt duckdns.org mooo.com yee.pw run.place eu.org ngrok.io ngrok.app ngrok-free.app deno.dev`.split(
    /\s+/,
  ),
)

function checkWildcard(
  label: string,
  { suffix, value }: { suffix: string; value: string },
): string | Remark<string> {
  const labels = suffix.split('.')
  const [name = '', country = ''] = labels.slice(-2)
  const isRegistry =
    labels.length === 2 && country.length === 2 && /^(co|com|net|org|gov|edu|ac|or|ne)$/.test(name)
  if (labels.length < 2 || isRegistry || /^(\d+|.*\])$/.test(country || suffix)) {
    return {
      mistake: 'opens a whole registry: put a domain of your own behind "*.", such as https://*.example.com',
    }
  }
  if (!SHARED_HOSTING.has(suffix)) return value
  const [before = '', after = ''] = label.split('*')
  const ends = [before && `begins with "${before}"`, after && `ends with "${after}"`]
    .filter(Boolean)
    .join(' and ')
  const who = ends === '' ? `everyone hosted on ${suffix}` : `whoever takes a name on ${suffix} that ${ends}`
  return { value, warning: `lets in the pages of ${who}: name your project's own origins instead` }
}
