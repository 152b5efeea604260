import { ImpairedLink } from '../test/support/impaired-link.ts';
import { machine, versions } from './machine.ts';
import { Meter } from './measure.ts';
import { measureMemory, measureStarts } from './memory.ts';
import { Place } from './place.ts';
import { plainVariants } from './plain-variants.ts';
import { queuedAt } from './queued-packets.ts';
import { inTurn, type Plan } from './plan.ts';
import type { Progress } from './progress.ts';
import type { BenchResult, LoadKind, Memory, Problem, Sample } from './result.ts';
import { sidecarVariants } from './sidecar-variants.ts';
import { Sidecars } from './sidecars.ts';
import { FAR_ONE_WAY_MS } from './targets.ts';
import type { Variant } from './variant.ts';
import type { LoadOrder } from './load-program.ts';

/** Which variants the delayed link is for, and between which nothing may be known. */
const FAR = [
  'direct',
  'haproxy',
  'haproxy-mtls',
  'countersign',
  'countersign-fastopen',
  'countersign-nfqueue',
];
const FIRST = ['direct', 'haproxy-mtls-full', 'countersign', 'countersign-nfqueue'];
const MEMORY = 'countersign';
/** Whose open connections are the kernel's alone, and what is asked of those. */
const KERNEL = { variants: ['direct', 'countersign-nfqueue'], kinds: ['bulk1', 'bulk8', 'ping'] };

/** After so many failures in a row a variant is left alone. */
const FAILURES = 3;

/** One run of the benchmark, from the first namespace to the last; what fails is told in its result, and the rest goes on. */
export class Session {
  readonly place = new Place();
  readonly #plan: Plan;
  readonly #wanted: (id: string) => boolean;
  readonly sidecars: Sidecars;
  readonly meter: Meter;
  readonly #begin = Date.now();
  readonly #samples: Sample[] = [];
  readonly #problems: Problem[] = [];
  readonly #notes: string[] = [];
  readonly #failures = new Map<string, number>();
  variants: Variant[] = [];
  #memory: Memory | undefined;
  #queuedPackets: number | undefined;
  #starts: number[] = [];

  /**
   * @param wanted which variants, by id
   * @param from what the sidecars run
   */
  constructor(plan: Plan, wanted: (id: string) => boolean, from: 'bundle' | 'source' = 'bundle') {
    this.#plan = plan;
    this.sidecars = new Sidecars(this.place, from);
    this.#wanted = wanted;
    this.meter = new Meter(this.place, this.sidecars, plan.patienceMs);
  }

  /** Brings everything up. */
  async start(): Promise<void> {
    const plain = await plainVariants(this.place, this.#wanted, this.#onProblem);
    const ours = await sidecarVariants(this.place, this.sidecars, this.#wanted, this.#onStart);
    this.variants = [...plain, ...ours];
    // The first connections make sessions, tickets, cookies and machine code of hot functions.
    for (const variant of this.variants) {
      await this.#sample(variant, 'rate', -1, { kind: 'rate', seconds: 0.3, number: 32 });
    }
    this.#samples.length = 0;
  }

  async rounds(progress: Progress): Promise<void> {
    for (let round = 0; round < this.#plan.rounds; round++) {
      if (round > 0 && Date.now() - this.#begin > this.#plan.roundsUntilMs) {
        this.#notes.push(
          `${this.#plan.rounds - round} of ${this.#plan.rounds} rounds: the machine was too slow for them`,
        );
        return progress.step('no more rounds', (this.#plan.rounds - round) * this.#plan.loads.length);
      }
      for (const { kind, order } of this.#plan.loads) {
        for (const variant of inTurn(this.variants, round)) await this.#sample(variant, kind, round, order);
        progress.step(`round ${round + 1} of ${this.#plan.rounds}, ${kind}`);
      }
    }
  }

  /** Where no proxy is in between: more rounds of the two alone, right behind each other. */
  async kernel(progress: Progress): Promise<void> {
    const variants = this.variants.filter(({ id }) => KERNEL.variants.includes(id));
    if (variants.length < KERNEL.variants.length) return;
    const loads = this.#plan.loads.filter(({ kind }) => KERNEL.kinds.includes(kind));
    for (let round = 0; round < this.#plan.kernelRounds; round++) {
      for (const { kind, order } of loads) {
        for (const variant of inTurn(variants, round))
          await this.#sample(variant, kind, this.#plan.rounds + round, order);
      }
      if (round % 4 === 3)
        progress.step(`direct and nfqueue alone, round ${round + 1} of ${this.#plan.kernelRounds}`);
    }
  }

  /** How many packets of a connection the dearer side of the nfqueue mode takes from its queues. */
  async queuedPackets(): Promise<void> {
    const variant = this.variants.find(({ id }) => id === 'countersign-nfqueue');
    if (variant === undefined) return;
    try {
      const hosts = [variant.client, ...variant.servers];
      const before = await queuedAt(this.place, hosts);
      const order: LoadOrder = { kind: 'connect', seconds: 10, number: 200 };
      const { connections } = await this.meter.sample(variant, 'connect', -1, order);
      const after = await queuedAt(this.place, hosts);
      this.#queuedPackets = Math.max(...after.map((count, at) => (count - before[at]!) / connections));
    } catch (error) {
      this.#onProblem('packets queued', error);
    }
  }

  /** First contact: each time every sidecar gets a key and a token that nobody has seen. */
  async firstContacts(progress: Progress): Promise<void> {
    const variants = this.variants.filter(({ id }) => FIRST.includes(id));
    const pods = variants
      .filter(({ proves }) => proves)
      .flatMap(({ client, servers }) => [client, ...servers]);
    for (let round = 0; round < this.#plan.firstContacts; round++) {
      try {
        await this.sidecars.renew(pods);
      } catch (error) {
        return this.#onProblem('first contact', error);
      }
      for (const variant of inTurn(variants, round)) {
        await this.#sample(variant, 'first', round, { kind: 'connect', seconds: 5, number: 1 });
      }
      if (round % 5 === 4) progress.step(`first contact ${round + 1} of ${this.#plan.firstContacts}`);
    }
  }

  /** The same variants with a delay between their hosts. */
  async far(progress: Progress): Promise<void> {
    const variants = this.variants.filter(({ id }) => FAR.includes(id));
    const links: ImpairedLink[] = [];
    const linked = new Set<string>();
    try {
      for (const { client, servers } of variants) {
        if (linked.has(client)) continue;
        linked.add(client);
        const end = (host: string) => ({ host, ...this.place.cluster.addresses.get(host)! });
        const how = { delayMs: FAR_ONE_WAY_MS };
        const [here, there] = [end(client), end(servers[0]!)];
        const link = await ImpairedLink.between(this.place.cluster.network, here, there, how);
        links.push(link);
        // REDIRECT leads to an address of the device that a packet came by; without one it drops the packet.
        for (const { host } of [here, there]) await this.place.address(host, link.device);
      }
      // Cookies and sessions are made anew where the path is another one.
      for (const variant of variants)
        await this.#sample(variant, 'far', -1, { ...this.#plan.far, number: 3 });
      for (let round = 0; round < this.#plan.farRounds; round++) {
        for (const variant of inTurn(variants, round))
          await this.#sample(variant, 'far', round, this.#plan.far);
        progress.step(`delayed link, round ${round + 1} of ${this.#plan.farRounds}`);
      }
    } catch (error) {
      this.#onProblem('delayed link', error);
    } finally {
      for (const link of links) await link.remove();
    }
  }

  /** Comes last: it starts sidecars anew. */
  async memory(progress: Progress): Promise<void> {
    const variant = this.variants.find(({ id }) => id === MEMORY);
    if (variant === undefined) return;
    try {
      this.#memory = await measureMemory(this.place, this.sidecars, variant, this.#plan.idleConnections);
      progress.step('memory');
      this.#starts = await measureStarts(this.sidecars, variant.client, this.#plan.starts);
      progress.step('start');
    } catch (error) {
      this.#onProblem('memory and start', error);
    }
  }

  result(quick: boolean): BenchResult {
    return {
      format: 1,
      date: new Date(this.#begin).toISOString(),
      seconds: (Date.now() - this.#begin) / 1000,
      quick,
      machine: machine(),
      versions: versions(),
      variants: this.variants.map(({ id, title }) => ({ id, title })),
      samples: this.#samples.filter(({ round }) => round >= 0),
      memory: this.#memory,
      start: this.#starts.length === 0 ? undefined : { milliseconds: this.#starts },
      queuedPackets: this.#queuedPackets,
      problems: this.#problems,
      notes: this.#notes,
    };
  }

  async #sample(variant: Variant, kind: LoadKind, round: number, order: LoadOrder): Promise<void> {
    const failures = this.#failures.get(variant.id) ?? 0;
    if (failures >= FAILURES) return;
    try {
      this.#samples.push(await this.meter.sample(variant, kind, round, order));
      this.#failures.set(variant.id, 0);
    } catch (error) {
      this.#failures.set(variant.id, failures + 1);
      this.#onProblem(`${variant.id}, ${kind}`, error);
      if (failures + 1 === FAILURES)
        this.#onProblem(variant.id, `failed ${FAILURES} times in a row and is left alone`);
    }
  }

  readonly #onProblem = (variant: string, error: unknown): void => {
    const text = error instanceof Error ? error.message : String(error);
    this.#problems.push({ variant, text });
    process.stderr.write(`PROBLEM  ${variant}: ${text}\n`);
  };

  /** A mode that this version says it does not have is no fault of the run. */
  readonly #onStart = (variant: string, error: unknown): void => {
    const text = error instanceof Error ? error.message : String(error);
    if (text.includes('is not built yet')) this.#notes.push(`${variant}: ${text}`);
    else this.#onProblem(variant, error);
  };
}
