import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EDGE_ADDRESS } from './engine.ts'
import { output } from './shell.ts'

interface Finding {
  id: string
  severity: string
  finding: string
}

const TOO_MUCH = ['MEDIUM', 'HIGH', 'CRITICAL', 'FATAL']
/** Fewer answers mean that the scan did not get through: that is no clean result. */
const LEAST_ANSWERS = 30

/** What testssl.sh (apt-get install testssl.sh) finds above "low": protocols, ciphers, forward secrecy, known attacks. */
export async function tlsFindings(name: string): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'gw-tls-'))
  const file = join(folder, 'findings.json')
  try {
    const checks = ['-p', '-s', '-f', '-U', '--fast', '--warnings', 'off', '--quiet', '--color', '0']
    const where = ['--ip', EDGE_ADDRESS, '--jsonfile', file, `${name}:443`]
    await output('testssl', [...checks, ...where])
    const all: Finding[] = JSON.parse(readFileSync(file, 'utf8'))
    if (all.length < LEAST_ANSWERS) throw new Error(`testssl.sh answered only ${all.length} questions`)
    const bad = all.filter(({ severity }) => TOO_MUCH.includes(severity))
    return bad.map(({ id, severity, finding }) => `${severity} ${id}: ${finding}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
