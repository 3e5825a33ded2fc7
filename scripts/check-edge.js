// @ts-check
// Run in the container "prepare": what the edge cannot start with is told once, before it tries again and again.
import { checkEdge } from './preflight/edge.js'
import { isHostname } from './preflight/settings.js'

const { ACME_EMAIL, LETSENCRYPT_EMAIL, ACME_CHALLENGE, DOMAIN1 = '' } = process.env
const MISCONFIGURED = 78

const settings = /** @type {import('./preflight/settings.js').Settings} */ (process.env)
const findings = checkEdge(settings, 'edge/certificates')
if (!ACME_EMAIL && !LETSENCRYPT_EMAIL && ACME_CHALLENGE !== 'off')
  findings.unshift('ACME_EMAIL is empty: set it in .env (LETSENCRYPT_EMAIL is read too)')
// Another name that is none does not keep the rest from theirs.
if (!isHostname(DOMAIN1.trim()))
  findings.unshift('DOMAIN1 is no hostname: letters, digits, dots and dashes alone, as in api.example.com')
for (const finding of findings) process.stderr.write(`✗ ${finding}\n`)
if (findings.length > 0) process.exitCode = MISCONFIGURED
