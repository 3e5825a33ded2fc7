import { median } from './measure.ts'
import type { Paced, Window } from './scenarios.ts'

type Name = string

/** What issue 2 asks for, beside what was measured. */
export interface Bar {
  text: string
  /** Undefined: it cannot be said from this run. */
  isMet: boolean | undefined
}

function round(value: number, digits = 1) {
  return value.toFixed(digits)
}
function spread(values: readonly number[], digits = 1) {
  return `${round(median(values), digits)} (${round(Math.min(...values), digits)}-${round(Math.max(...values), digits)})`
}
function verdict({ text, isMet }: Bar) {
  return `${text}: ${isMet === undefined ? 'not measured' : isMet ? '**met**' : '**MISSED**'}`
}
function row(cells: readonly string[]) {
  return `| ${cells.join(' | ')} |`
}
function header(cells: readonly string[]) {
  return [row(cells), row(cells.map(() => '---'))]
}

/** The ratio of two medians; undefined without both. */
export function ratio(
  of: readonly number[] | undefined,
  to: readonly number[] | undefined,
): number | undefined {
  return of?.length && to?.length ? median(of) / median(to) : undefined
}

function showRatio(value: number | undefined) {
  return value === undefined ? '-' : `${round(value, 2)} x`
}

/** One load scenario: a row for each candidate, the bar under it. */
export function loadTable(
  title: string,
  windows: ReadonlyMap<Name, Window[]>,
  barRatio: number | undefined,
): string[] {
  const hasBefore = windows.has('before')
  const cpu = (name: Name) => windows.get(name)?.map((window) => window.cpuUs)
  const lines = [...windows].map(([name, all]) =>
    row([
      name,
      spread(all.map((window) => window.cpuUs)),
      round(median(all.map((window) => window.perSecond)), 0),
      round(median(all.map((window) => window.p50Ms)), 2),
      round(median(all.map((window) => window.p99Ms)), 2),
      showRatio(ratio(cpu(name), cpu('bare'))),
      showRatio(ratio(cpu(name), cpu('nginx'))),
      ...(hasBefore ? [showRatio(ratio(cpu(name), cpu('before')))] : []),
      String(all.reduce((sum, window) => sum + window.failed, 0)),
      `${round(Math.max(...all.map((window) => window.noise)) * 100, 0)} %`,
    ]),
  )
  const columns = [
    'candidate',
    'CPU us/request (min-max)',
    'requests/s',
    'p50 ms',
    'p99 ms',
    'x bare',
    'x nginx',
    ...(hasBefore ? ['x before'] : []),
    'failed',
    'others on the core, at most',
  ]
  const measured = ratio(cpu('gateway'), cpu('bare'))
  const bar = { text: `bar: at most ${barRatio} x bare`, isMet: measured && measured <= (barRatio ?? 0) }
  const said =
    barRatio === undefined
      ? []
      : ['', verdict({ ...bar, isMet: bar.isMet === undefined ? undefined : Boolean(bar.isMet) })]
  return ['', `### ${title}`, '', ...header(columns), ...lines, ...said]
}

/** A bar of one candidate's CPU against another's. */
export function ratioBar(
  windows: ReadonlyMap<Name, Window[]>,
  [of, to]: readonly [Name, Name],
  atMost: number,
) {
  const cpu = (name: Name) => windows.get(name)?.map((window) => window.cpuUs)
  const measured = ratio(cpu(of), cpu(to))
  const text = `bar: at most ${atMost} x, measured ${showRatio(measured)}`
  return ['', verdict({ text, isMet: measured === undefined ? undefined : measured <= atMost })]
}

/** The paced streams. */
export function pacedTable(results: ReadonlyMap<Name, Paced[]>): string[] {
  const of = (name: Name, field: keyof Paced) => results.get(name)?.map((paced) => paced[field]) ?? []
  const sum = (values: readonly number[]) => values.reduce((total, each) => total + each, 0)
  const fields = ['firstP50Ms', 'firstP99Ms', 'delayP50Ms', 'delayP99Ms'] as const
  const lines = [...results.keys()].map((name) =>
    row([
      name,
      ...fields.map((field) => spread(of(name, field), 2)),
      String(sum(of(name, 'errors'))),
      String(sum(of(name, 'starved'))),
    ]),
  )
  const delays = ratio(of('gateway', 'delayP99Ms'), of('bare', 'delayP99Ms'))
  const isMeasured = results.has('gateway')
  const bars: Bar[] = [
    { text: 'bar: no error', isMet: isMeasured ? sum(of('gateway', 'errors')) === 0 : undefined },
    { text: 'bar: none starved', isMet: isMeasured ? sum(of('gateway', 'starved')) === 0 : undefined },
    {
      text: "bar: p99 delay at most the bare proxy's",
      isMet: delays === undefined ? undefined : delays <= 1,
    },
  ]
  const columns = [
    'candidate',
    'first event p50 ms',
    'first event p99 ms',
    'event delay p50 ms',
    'event delay p99 ms',
    'errors',
    'starved',
  ]
  return [
    '',
    '### 500 streams, 50 events a second each',
    '',
    ...header(columns),
    ...lines,
    '',
    ...bars.map(verdict),
  ]
}

/** A single figure for each candidate, with an upper bound for the gateway's. */
export function figureTable(
  title: string,
  results: ReadonlyMap<Name, number[]>,
  bar: { unit: string; atMost: number },
): string[] {
  const lines = [...results].map(([name, values]) => row([name, spread(values)]))
  const gateway = results.get('gateway')
  const isMet = gateway?.length ? median(gateway) <= bar.atMost : undefined
  const text = `bar: at most ${bar.atMost} ${bar.unit}`
  return ['', `### ${title}`, '', ...header(['candidate', bar.unit]), ...lines, '', verdict({ text, isMet })]
}
