import t from 'tap'
import { parse } from 'yaml'
import { boardQuestions, deployed } from '../support/prometheus.ts'

interface Panel {
  id: number
  title: string
  type: string
  gridPos: { x: number; y: number; w: number; h: number }
  targets?: { datasource: { uid: string } }[]
}

const { panels, uid, templating }: { panels: Panel[]; uid: string; templating: { list: object[] } } =
  JSON.parse(deployed('grafana/boards/gateway.json'))

t.test('the board’s panels have names and places of their own', async (t) => {
  t.equal(uid, 'gateway')
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  const taken = new Map<string, string>()
  for (const { title, gridPos } of panels) {
    const { x, y, w, h } = gridPos
    t.ok(x + w <= 24, `${title} is within the board`)
    for (let column = x; column < x + w; column++)
      for (let row = y; row < y + h; row++) {
        const place = `${column}/${row}`
        if (taken.has(place)) t.fail(`${title} lies over ${taken.get(place)}`)
        taken.set(place, title)
      }
  }
})

t.test('every panel asks the data source that is provisioned', async (t) => {
  const { datasources } = parse(deployed('grafana/provisioning/datasources/prometheus.yml'))
  t.match(datasources, [{ uid: 'prometheus', url: 'http://prometheus:9090' }])
  t.match(JSON.stringify(templating.list), 'label_values(gateway_ready, instance)')
  for (const { title, type, targets = [] } of panels) {
    t.ok(type === 'row' || targets.length > 0, title)
    for (const { datasource } of targets) t.equal(datasource.uid, 'prometheus', title)
  }
  t.ok(boardQuestions().length > 45)
  const { providers } = parse(deployed('grafana/provisioning/dashboards/boards.yml'))
  t.match(providers, [{ allowUiUpdates: false, options: { path: '/etc/grafana/boards' } }])
})
