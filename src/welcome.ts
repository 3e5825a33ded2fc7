import { FEW_FILES, readFileLimit } from './config/env/open-files.ts'
import type { Log } from './telemetry/logger/logger.ts'

/** Security fixes of October 2026: below these, a provider could attack the runtime's decoder. */
const SAFE_NODE: Readonly<Record<string, string>> = { 24: '24.22.1', 26: '26.12.1' }

/** The master token, this once, and a call that works when pasted. */
export function showFirstSteps(secret: string, port: number, model: string): void {
  const call = `curl http://localhost:${port}/v1/chat/completions \\
  -H "Authorization: Bearer ${secret}" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "${model}", "messages": [{"role": "user", "content": "Hello!"}]}'`
  process.stdout.write(`
Your master token, shown this once (only its hash is kept):

  ${secret}

Try it:

${call}

`)
}

/** A runtime without the latest security fixes is named in the log. */
export function warnOfOldNode(log: Log): void {
  const safe = SAFE_NODE[process.versions.node.split('.')[0] ?? '']
  if (safe && isOlder(process.versions.node, safe)) {
    log.logger.warn(
      { node: process.versions.node, safe },
      'this Node.js lacks security fixes: use the safe one in production',
    )
  }
}

/** A gateway that may hold few files is told from before they run out. */
export function warnOfFewFiles(log: Log, limit = readFileLimit()): void {
  if (limit !== undefined && limit < FEW_FILES) {
    const way = `raise it to ${FEW_FILES} or more: ulimit -n, systemd LimitNOFILE=, Docker --ulimit nofile=`
    log.logger.warn({ limit, way }, 'this process may open few files: clients beyond them are refused')
  }
}

/** Versions are compared by hand: the first comparison by locale loads the collation's tables, which takes 25 ms. */
function isOlder(version: string, safe: string): boolean {
  const [, minor = 0, patch = 0] = version.split('.').map(Number.parseFloat)
  const [, safeMinor = 0, safePatch = 0] = safe.split('.').map(Number.parseFloat)
  return minor < safeMinor || (minor === safeMinor && patch < safePatch)
}
