import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { temporaryFolder } from './gateway.ts'
import type { Owner } from './waiting.ts'

/** A configuration file that has nothing but routes, by their paths; removed with the test. */
export function servicesFile(t: Owner, services: Record<string, object>): string {
  const path = join(temporaryFolder(t, 'gw-services-'), 'gateway.yaml')
  writeServices(path, services)
  return path
}

/** For tests that change the file while the gateway runs. */
export function writeServices(path: string, services: Record<string, object>): void {
  writeFileSync(path, stringify({ services }))
}
