// @ts-check
// Run in the container "prepare": what the edge cannot start with is told once, before it tries again and again.
import { checkEdge } from './preflight/edge.js'

const { ACME_EMAIL, LETSENCRYPT_EMAIL, ACME_CHALLENGE } = process.env
const MISCONFIGURED = 78

const settings = /** @type {import('./preflight/settings.js').Settings} */ (process.env)
const findings = checkEdge(settings, 'edge/certificates')
if (!ACME_EMAIL && !LETSENCRYPT_EMAIL && ACME_CHALLENGE !== 'off')
  findings.unshift('ACME_EMAIL is empty: set it in .env (LETSENCRYPT_EMAIL is read too)')
for (const finding of findings) process.stderr.write(`✗ ${finding}\n`)
if (findings.length > 0) process.exitCode = MISCONFIGURED
