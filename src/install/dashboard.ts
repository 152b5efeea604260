/** One panel: a title, what its queries show (legend by expression), and the unit of the axis as Grafana names it. */
interface Panel {
  readonly title: string;
  readonly description: string;
  readonly unit: string;
  readonly kind?: 'timeseries' | 'stat';
  readonly queries: readonly (readonly [legend: string, expression: string])[];
}

interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** `namespace` and `pod` come from the scrape configuration; PodMonitors of `countersign install --monitoring` set them. */
const OF = 'namespace=~"$namespace"';

const ROWS: readonly Row[] = [
  {
    title: 'Connections',
    panels: [
      {
        title: 'Refused, by reason',
        description: 'As the called side sees it. docs/reference.md says what each reason means.',
        unit: 'cps',
        queries: [
          [
            '{{reason}}',
            `sum by (reason) (rate(countersign_connections_total{${OF}, verdict="deny", direction="inbound"}[$__rate_interval]))`,
          ],
        ],
      },
      {
        title: 'Would be refused (audit)',
        description: 'What enforcing would break, by namespace of the called pod.',
        unit: 'cps',
        queries: [
          [
            '{{namespace}} {{reason}}',
            `sum by (namespace, reason) (rate(countersign_connections_total{${OF}, verdict="would_deny"}[$__rate_interval]))`,
          ],
        ],
      },
      {
        title: 'Allowed, by what the caller proved',
        description: 'unproven: who is left to enroll.',
        unit: 'cps',
        queries: [
          [
            '{{peer}}',
            `sum by (peer) (rate(countersign_connections_total{${OF}, verdict="allow", direction="inbound"}[$__rate_interval]))`,
          ],
        ],
      },
      {
        title: 'Open connections',
        description: 'Allowed and open, by direction, and the smallest bound of a sidecar.',
        unit: 'short',
        queries: [
          ['{{direction}}', `sum by (direction) (countersign_open_connections{${OF}})`],
          ['bound of one', `min(countersign_connection_limit{${OF}})`],
        ],
      },
      {
        title: 'Handshake, slowest hundredth',
        description: 'From the accepted connection to the first verdict about a proven peer.',
        unit: 's',
        queries: [
          [
            '{{handshake}}',
            `histogram_quantile(0.99, sum by (le, handshake) (rate(countersign_handshake_seconds_bucket{${OF}}[$__rate_interval])))`,
          ],
        ],
      },
      {
        title: 'Fast Open',
        description: 'What became of it; taken: no round trip was added.',
        unit: 'cps',
        queries: [
          [
            '{{outcome}}',
            `sum by (outcome) (rate(countersign_fast_open_dials_total{${OF}}[$__rate_interval]))`,
          ],
        ],
      },
    ],
  },
  {
    title: 'Sidecars',
    panels: [
      {
        title: 'Not ready',
        description: 'docs/runbook.md#countersignnotready',
        unit: 'short',
        kind: 'stat',
        queries: [['not ready', `count(countersign_ready{${OF}} == 0) or vector(0)`]],
      },
      {
        title: 'Without redirection',
        description: 'docs/runbook.md#countersignredirectlost',
        unit: 'short',
        kind: 'stat',
        queries: [
          ['lost', `count(min by (namespace, pod) (countersign_redirect_in_force{${OF}}) == 0) or vector(0)`],
        ],
      },
      {
        title: 'In audit mode',
        description: 'Sidecars that record denials of policy and refuse nothing.',
        unit: 'short',
        kind: 'stat',
        queries: [['audit', `sum(countersign_audit_mode{${OF}}) or vector(0)`]],
      },
      {
        title: 'Soonest end of an identity',
        description: 'Renewed every 20 minutes of its 4 hours.',
        unit: 's',
        queries: [['soonest', `min(countersign_identity_expiry_timestamp_seconds{${OF}} > 0) - time()`]],
      },
      {
        title: 'Oldest policy, oldest source',
        description: 'The last known state stays in force and never widens.',
        unit: 's',
        queries: [
          ['policy', `max(countersign_policy_age_seconds{${OF}})`],
          ['source', `max(countersign_source_age_seconds{${OF}})`],
        ],
      },
      {
        title: 'Resident memory and CPU, per sidecar',
        description: 'Shared pages count in each.',
        unit: 'bytes',
        queries: [
          [
            'memory, largest',
            `max(process_resident_memory_bytes{${OF}} and on (namespace, pod) countersign_ready)`,
          ],
          [
            'memory, middle',
            `quantile(0.5, process_resident_memory_bytes{${OF}} and on (namespace, pod) countersign_ready)`,
          ],
        ],
      },
      {
        title: 'Busiest judging threads',
        description: 'Near 1: the sidecar has no more CPU for new connections.',
        unit: 'percentunit',
        queries: [
          [
            '{{namespace}}/{{pod}}',
            `topk(5, rate(nodejs_eventloop_busy_seconds_total{${OF}}[$__rate_interval]))`,
          ],
        ],
      },
      {
        title: 'Releases',
        description: 'A sidecar works with the releases before and after its own.',
        unit: 'short',
        queries: [['{{version}}', `count by (version) (countersign_build_info{${OF}})`]],
      },
    ],
  },
  {
    title: 'Control plane',
    panels: [
      {
        title: 'Ready replicas',
        description: 'docs/runbook.md#countersignauthorityaway, #countersigninjectoraway',
        unit: 'short',
        kind: 'stat',
        queries: [
          ['authority', 'sum(countersign_authority_ready) or vector(0)'],
          ['injector', 'sum(countersign_injector_ready) or vector(0)'],
        ],
      },
      {
        title: 'Sidecars at the authority, and pods it knows',
        description: 'Connected streams, over all replicas.',
        unit: 'short',
        queries: [
          ['streams', 'sum(countersign_authority_streams)'],
          ['pods', 'max(countersign_authority_pods)'],
        ],
      },
      {
        title: 'Answers of the authority, by code',
        description: 'docs/authority-api.md lists them.',
        unit: 'reqps',
        queries: [
          [
            '{{path}} {{code}}',
            'sum by (path, code) (rate(countersign_authority_answers_total[$__rate_interval]))',
          ],
        ],
      },
      {
        title: 'Second keys',
        description: 'docs/runbook.md#countersignsecondkey',
        unit: 'short',
        queries: [
          [
            '{{cause}}',
            'sum by (cause) (increase(countersign_authority_second_keys_total[$__rate_interval]))',
          ],
        ],
      },
      {
        title: 'Age of the authority’s view',
        description: 'Time since it was last known to be the newest.',
        unit: 's',
        queries: [['{{pod}}', 'countersign_authority_view_age_seconds']],
      },
      {
        title: 'Injection',
        description: 'Pods that the API server asked about.',
        unit: 'reqps',
        queries: [
          ['{{outcome}}', 'sum by (outcome) (rate(countersign_injector_reviews_total[$__rate_interval]))'],
        ],
      },
      {
        title: 'Pods without the sidecar that they ask for',
        description: 'docs/runbook.md#countersignpodswithoutsidecar',
        unit: 'short',
        kind: 'stat',
        queries: [['pods', 'max(countersign_injector_uninjected_pods)']],
      },
      {
        title: 'End of the webhook’s certificate',
        description: 'Renewed long before.',
        unit: 's',
        queries: [['{{pod}}', 'countersign_injector_certificate_expiry_timestamp_seconds - time()']],
      },
    ],
  },
];

const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };
const [WIDTH, HEIGHT] = [8, 7];
const PER_LINE = 3;

/** Every expression of the dashboard, for the test that holds them to the metrics that exist. */
export function dashboardExpressions(): string[] {
  return ROWS.flatMap(({ panels }) => panels.flatMap(({ queries }) => queries.map(([, expr]) => expr)));
}

/** The Grafana dashboard, as its import takes it (schema 39, Grafana 10 and newer). */
export function dashboard(): object {
  const panels: object[] = [];
  let id = 0;
  let y = 0;
  for (const row of ROWS) {
    id++;
    panels.push({
      id,
      type: 'row',
      title: row.title,
      collapsed: false,
      panels: [],
      gridPos: { x: 0, y, w: 24, h: 1 },
    });
    y++;
    row.panels.forEach((panel, index) => {
      id++;
      const at = {
        x: (index % PER_LINE) * WIDTH,
        y: y + Math.floor(index / PER_LINE) * HEIGHT,
        w: WIDTH,
        h: HEIGHT,
      };
      panels.push(panelOf(panel, id, at));
    });
    y += Math.ceil(row.panels.length / PER_LINE) * HEIGHT;
  }
  return {
    uid: 'countersign',
    title: 'Countersign',
    tags: ['countersign', 'security'],
    schemaVersion: 39,
    editable: true,
    refresh: '30s',
    time: { from: 'now-6h', to: 'now' },
    templating: {
      list: [
        { name: 'datasource', type: 'datasource', query: 'prometheus', label: 'Data source' },
        {
          name: 'namespace',
          type: 'query',
          datasource: DATASOURCE,
          query: 'label_values(countersign_ready, namespace)',
          refresh: 2,
          includeAll: true,
          multi: true,
          allValue: '.*',
          current: { text: 'All', value: '$__all' },
        },
      ],
    },
    panels,
  };
}

function panelOf(
  { title, description, unit, kind = 'timeseries', queries }: Panel,
  id: number,
  gridPos: object,
): object {
  return {
    id,
    type: kind,
    title,
    description,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
    targets: queries.map(([legendFormat, expr], index) => ({
      refId: String.fromCodePoint(65 + index),
      datasource: DATASOURCE,
      expr,
      legendFormat,
    })),
  };
}
