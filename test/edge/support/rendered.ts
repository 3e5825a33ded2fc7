import { parse } from 'yaml'
import { output } from './shell.ts'

export interface Service {
  container_name?: string
  image?: string
  user?: string
  command?: string[]
  entrypoint?: unknown
  environment?: Record<string, string>
  depends_on?: Record<string, { condition?: string }>
  ports?: unknown[]
  volumes?: unknown[]
  restart?: string
  init?: boolean
  mem_limit?: string
  pids_limit?: number
  stop_grace_period?: string
  logging?: unknown
  profiles?: string[]
  [option: string]: unknown
}

/** A compose file as a Compose understood it. */
export interface Rendered {
  services: Record<string, Service>
  networks: Record<string, { ipam?: { config?: { subnet?: string }[] } }>
}

/** What would run: Compose 1 shows the services of sleeping profiles too. Without a file it is Compose's own choice. */
export async function render(
  compose: readonly string[],
  folder: string,
  file: string | undefined,
  awake: readonly string[] = [],
): Promise<Rendered> {
  const [command = '', ...first] = compose
  const all: Rendered = parse(
    await output(command, [...first, ...(file ? ['-f', file] : []), 'config'], { cwd: folder }),
  )
  const isAwake = ({ profiles }: Service) => !profiles || profiles.some((name) => awake.includes(name))
  const services = Object.fromEntries(Object.entries(all.services).filter(([, service]) => isAwake(service)))
  return { ...all, services }
}

/** Traefik's options by name, each with its value. */
export const traefikOptions = (service: Service | undefined): Record<string, string> =>
  Object.fromEntries(
    (service?.command ?? []).map((option) => {
      const [, name = '', value = ''] = /^--([^=]+)=(.*)$/s.exec(option) ?? []
      return [name, value]
    }),
  )
