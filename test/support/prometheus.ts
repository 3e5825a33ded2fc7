import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { unusedPort } from './ports.ts'
import { bareEnv, startProcess } from './process.ts'
import type { Owner } from './waiting.ts'

const DEPLOY = join(import.meta.dirname, '..', '..', 'deploy')

/** One series of an answer: its labels and its value of now. */
export interface Series {
  metric: Record<string, string>
  value: [number, string]
}

/** Asks a running Prometheus; undefined while it is not ready to answer. */
export type Ask = (expression: string) => Promise<readonly Series[] | undefined>

/** A real Prometheus on the files of this folder: `prometheus.yml` and what it names. */
export async function startPrometheus(t: Owner, dir: string): Promise<{ ask: Ask; said(): string }> {
  const port = await unusedPort()
  const args = [
    `--config.file=${dir}/prometheus.yml`,
    `--storage.tsdb.path=${dir}/data`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]
  const started = startProcess(t, { command: 'prometheus', args, cwd: dir, env: bareEnv() })
  const ask: Ask = async (expression) => {
    const url = `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expression)}`
    const answer = await fetch(url).catch(() => undefined)
    const text = (await answer?.text()) ?? ''
    return answer?.ok ? seriesOf(text) : undefined
  }
  return { ask, said: started.stderr }
}

export function seriesOf(text: string): readonly Series[] {
  return JSON.parse(text).data.result
}

/** A file of `deploy/`, as it is shipped. */
export function deployed(path: string): string {
  return readFileSync(join(DEPLOY, path), 'utf8')
}

/** The rules with minutes made seconds: what waits for minutes in production is seen at once. */
export function hurriedAlerts(): string {
  return deployed('prometheus/alerts.yml')
    .replaceAll(/^( *for:) .*$/gm, '$1 1s')
    .replaceAll(/\[(5m|1h)\]/g, '[20s]')
    .replace('gateway_unsettled_oldest_seconds > 30', 'gateway_unsettled_oldest_seconds > 1')
}

interface Panel {
  type: string
  title: string
  targets?: { expr: string }[]
}

/** Every question of the board, as Grafana would ask it with all gateways chosen. */
export function boardQuestions(): { title: string; expression: string }[] {
  const { panels }: { panels: Panel[] } = JSON.parse(deployed('grafana/boards/gateway.json'))
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({
      title,
      expression: expr.replaceAll('$instance', '.*').replaceAll('$__rate_interval', '30s'),
    })),
  )
}
