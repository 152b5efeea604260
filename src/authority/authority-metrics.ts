import { Counter, Gauge, Registry } from 'prom-client';
import { type MetricDescription, AUTHORITY_METRICS, type AuthorityMetricName } from './metric-list.ts';
import type { DomainState } from './federation-keeper.ts';
import { readProcess } from '../observe/process-readings.ts';

export interface AuthorityReadings {
  readonly streams: number;
  readonly connections: number;
  /** Milliseconds since the epoch. */
  readonly viewConfirmedAt: number | undefined;
  readonly pods: number;
  readonly ready: boolean;
  readonly domains: readonly DomainState[];
}

/** The metrics of one authority, with a registry of their own. */
export class AuthorityMetrics {
  readonly #registry = new Registry();
  readonly #answers: Counter;
  readonly #secondKeys: Counter;

  constructor(readings: () => AuthorityReadings) {
    const given = (name: AuthorityMetricName) => {
      const { help, labels }: MetricDescription = AUTHORITY_METRICS[name];
      return { name, help, labelNames: Object.keys(labels), registers: [this.#registry] };
    };
    this.#answers = new Counter(given('countersign_authority_answers_total'));
    this.#secondKeys = new Counter(given('countersign_authority_second_keys_total'));
    for (const cause of ['restart', 'unexplained']) this.#secondKeys.inc({ cause }, 0);
    const gauge = (name: AuthorityMetricName, read: (now: AuthorityReadings) => number): void => {
      const made: Gauge = new Gauge({ ...given(name), collect: () => made.set(read(readings())) });
    };
    gauge('countersign_authority_streams', ({ streams }) => streams);
    gauge('countersign_authority_connections', ({ connections }) => connections);
    gauge('countersign_authority_pods', ({ pods }) => pods);
    gauge('countersign_authority_ready', ({ ready }) => Number(ready));
    gauge('countersign_authority_view_age_seconds', ({ viewConfirmedAt }) =>
      viewConfirmedAt === undefined ? Number.NaN : (Date.now() - viewConfirmedAt) / 1000,
    );
    const ofDomains = (name: AuthorityMetricName, read: (domain: DomainState) => number): void => {
      const made: Gauge = new Gauge({
        ...given(name),
        collect: () => {
          made.reset();
          for (const one of readings().domains) made.set({ trust_domain: one.trustDomain }, read(one));
        },
      });
    };
    ofDomains('countersign_authority_federation_keys', ({ keys }) => keys);
    ofDomains('countersign_authority_federation_age_seconds', ({ age }) => age ?? Number.NaN);
    ofDomains('countersign_authority_federation_problem', ({ problem }) => Number(problem !== undefined));
    gauge('process_resident_memory_bytes', () => readProcess().residentBytes);
    const cpu: Counter = new Counter({
      ...given('process_cpu_seconds_total'),
      collect: () => {
        cpu.reset();
        cpu.inc(readProcess().cpuSeconds);
      },
    });
  }

  answered(path: string, code: string): void {
    this.#answers.inc({ path, code });
  }

  secondKey(alert: boolean): void {
    this.#secondKeys.inc({ cause: alert ? 'unexplained' : 'restart' });
  }

  async text(): Promise<{ contentType: string; body: string }> {
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() };
  }
}
