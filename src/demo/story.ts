import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { issueIdentity, initTrustDomain } from '../identity/files.ts';
import type { Attack } from './attacker.ts';
import { firstConversation } from './capture.ts';
import { BEER_PORT, type Cast, NAMESPACE } from './cast.ts';
import type { Report } from './report.ts';
import { drinkOutcome, tabOutcome, TOLD_MS } from './outcome.ts';
import { totals } from './totals.ts';
import { node, PATIENCE_MS, programFile, STATE } from './world.ts';

const BEER_V4 = 'http://10.96.0.80/';
const BEER_V6 = 'http://[fd00:10:96::80]/';

/** The demo's steps in order. @returns whether every one came out as expected */
export class Story {
  readonly #cast: Cast;
  readonly #report: Report;
  #allGood = true;
  #calls = 0;

  constructor(cast: Cast, report: Report) {
    this.#cast = cast;
    this.#report = report;
  }

  /**
   * Where beer is to be had. In nfqueue mode the network picks the endpoint of a Service, and there is nobody here who would: the pods
   * are called by their own addresses in turn.
   */
  #beer(family: 0 | 1 = 0): string {
    if (this.#cast.mode === 'redirect') return family === 0 ? BEER_V4 : BEER_V6;
    const address = this.#cast.pod(`beer-${this.#calls++ % 3}`).addresses[family]!;
    return family === 0 ? `http://${address}:${BEER_PORT}/` : `http://[${address}]:${BEER_PORT}/`;
  }

  async tell(): Promise<boolean> {
    await this.#noPolicy();
    await this.#policyAppears();
    await this.#policyRemoved();
    await this.#audit();
    await this.#attacks();
    await this.#numbers();
    return this.#allGood;
  }

  async #noPolicy(): Promise<void> {
    this.#report.section(
      '1. No policy',
      'Three beer pods behind one Service address. Nothing isolates them, so everybody drinks; who has a sidecar proves who it is all the same.',
    );
    await this.#drink('no policy', 'approved', 'beer');
    await this.#drink('no policy', 'unapproved', 'beer');
    await this.#drink('no policy, IPv6', 'approved', 'beer', 1);
    await this.#replicas();
  }

  async #replicas(): Promise<void> {
    const poured = new Set<string>();
    for (let round = 0; round < 40 && poured.size < 3; round++) {
      const { out } = await this.#curl('approved', this.#beer());
      const by = /poured by (\S+)/.exec(out)?.[1];
      if (by !== undefined) poured.add(by);
    }
    this.#step(
      'every replica pours',
      'approved',
      'beer',
      'beer-0 beer-1 beer-2',
      [...poured].toSorted().join(' '),
      '',
    );
  }

  async #policyAppears(): Promise<void> {
    this.#report.section(
      '2. A NetworkPolicy appears',
      `${this.#cast.policyFile} is copied into the folder that the sidecars watch. It lets in who carries a label, and labels are proven.`,
    );
    const tab = this.#openTab('unapproved');
    const opened = await tab.opened;
    const known = this.#known('unapproved');
    await this.#cast.published(() => this.#publishPolicy());
    const mayStay = this.#cast.mayDrink('unapproved');
    const cut = await Promise.race([tab.cut, within(mayStay ? 2_000 : PATIENCE_MS, 'open')]);
    const flow = mayStay ? undefined : await this.#cast.newBeerFlow(this.#cast.address('unapproved'), known);
    this.#step(
      'a connection that was open before',
      'unapproved',
      'beer',
      mayStay ? 'open' : 'cut',
      tabOutcome(opened, cut, flow?.reason),
      flow?.reason ?? '',
    );
    tab.end();
    for (const name of ['approved', 'unapproved']) {
      await this.#drink('the policy is in force', name, this.#cast.mayDrink(name) ? 'beer' : 'refused');
    }
  }

  async #policyRemoved(): Promise<void> {
    this.#report.section('3. The policy is removed', 'The file is deleted; both drink again.');
    await this.#cast.published(() => this.#cast.publish('policy.yaml', undefined));
    for (const name of ['approved', 'unapproved']) await this.#drink('the policy is gone', name, 'beer');
  }

  async #audit(): Promise<void> {
    this.#report.section(
      '4. Audit mode',
      'The policy is back, and the namespace is annotated countersign.io/mode: audit. Refusals are recorded, and nobody is refused.',
    );
    const metadata = {
      name: NAMESPACE,
      labels: this.#cast.namespaceLabels,
      annotations: { 'countersign.io/mode': 'audit' },
    };
    // The first file by name counts, and this is it.
    await this.#cast.published(() =>
      this.#cast.publish('audit.yaml', JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata })),
    );
    const tab = this.#openTab('unapproved');
    const opened = await tab.opened;
    await this.#cast.published(() => this.#publishPolicy());
    const cut = await Promise.race([tab.cut, within(500, 'open')]);
    this.#step(
      'audit: a connection that was open',
      'unapproved',
      'beer',
      'open',
      opened ? cut : 'never opened',
      '',
    );
    tab.end();
    await tab.cut;
    for (const name of ['approved', 'unapproved']) {
      const known = this.#known(name);
      const { out } = await this.#curl(name, this.#beer());
      const flow = await this.#cast.newBeerFlow(this.#cast.address(name), known);
      const expected = this.#cast.mayDrink(name) ? 'beer, allow' : 'beer, would_deny';
      const got = `${out.includes('poured by') ? 'beer' : 'refused'}, ${flow?.verdict ?? 'no record'}`;
      this.#step('audit', name, 'beer', expected, got, flow?.reason ?? '');
    }
    await this.#cast.published(() => this.#cast.publish('audit.yaml', undefined));
  }

  async #attacks(): Promise<void> {
    this.#report.section(
      '5. Attacks',
      'The policy is enforced again. What the attackers have: the network, stolen tokens, a recording. What they have not: the private keys.',
    );
    const known = this.#known('no-sidecar');
    const { out } = await this.#curl('no-sidecar', `http://${this.#cast.address('beer-0')}:${BEER_PORT}/`);
    const flow = await this.#cast.newBeerFlow(this.#cast.address('no-sidecar'), known);
    const got = out.includes('poured by') ? 'beer' : 'refused';
    this.#attackStep(
      'right label, but no sidecar to prove it',
      'no-sidecar',
      'unproven-denied',
      got,
      flow?.reason,
    );

    const { keys } = this.#cast;
    const issuer = join(keys, 'mallory-issuer');
    const approved = this.#cast.pod('approved');
    const { trust } = this.#cast.identity('approved');
    initTrustDomain('cluster.local', join(issuer, 'same-name'), true);
    initTrustDomain('evil.example', join(issuer, 'foreign'), true);
    await issueIdentity(join(issuer, 'same-name/issuer.jwk'), approved, {}, 3_600, join(issuer, 'forged'));
    await issueIdentity(join(issuer, 'foreign/issuer.jwk'), approved, {}, 3_600, join(issuer, 'evil'));
    const forged = { token: join(issuer, 'forged/token.jwt'), key: join(issuer, 'forged/key.jwk'), trust };
    const foreign = { token: join(issuer, 'evil/token.jwt'), key: join(issuer, 'evil/key.jwk'), trust };
    const stolen = this.#cast.identity('approved').token;
    const own = this.#cast.identity('unapproved').key;
    await this.#attack('right label, signed by nobody who is trusted', 'token-untrusted', forged);
    await this.#attack('token of a foreign trust domain', 'foreign-domain', foreign);
    await this.#attack('stolen token, own key', 'proof-invalid', { ...forged, token: stolen });
    await this.#attack("another pod's token, a valid key of the cluster", 'proof-invalid', {
      token: stolen,
      key: own,
      trust,
    });

    if (this.#cast.mode === 'nfqueue') return; // A replayed SYN takes raw sockets: test/nfqueue/attacks.test.ts.
    const recorded = (await this.#record()).toString('base64');
    await this.#attack('recorded handshake, sent again', 'replay', { recorded });
    await this.#attack(
      'recorded handshake, relayed to another replica',
      'wrong-destination',
      { recorded },
      'beer-1',
    );
  }

  async #attack(step: string, reason: string, material: Partial<Attack>, target = 'beer-0'): Promise<void> {
    const known = this.#known('mallory');
    const attack = { address: this.#cast.address(target), port: BEER_PORT, ...material };
    const script = programFile('src/demo/attacker.ts');
    const ran = await this.#cast.world.run('mallory', [...node(), script, JSON.stringify(attack)]);
    const flow = await this.#cast.newBeerFlow(this.#cast.address('mallory'), known);
    const got =
      ran.out.startsWith('let in') || flow?.verdict !== 'deny' ? `let in (${ran.out.trim()})` : 'refused';
    this.#attackStep(step, 'mallory', reason, got, flow?.reason, target);
  }

  #attackStep(
    step: string,
    from: string,
    wanted: string,
    got: string,
    reason: string | undefined,
    to = 'beer-0',
  ): void {
    const told = reason ?? 'no record';
    this.#step(step, from, to, `refused: ${wanted}`, `${got}: ${told}`, told);
  }

  /** The first bytes of an honest handshake, taken from the wire. */
  async #record(): Promise<Buffer> {
    const file = join(STATE, 'recording.pcap');
    const dump = this.#cast.world.start('net', [
      'tcpdump',
      '-i',
      'br0',
      '-U',
      '--immediate-mode',
      '-Z',
      'root',
      '-w',
      file,
      'tcp',
      'and',
      'port',
      String(BEER_PORT),
    ]);
    const listening = new Promise<void>((resolve) => {
      dump.stderr!.on('data', (chunk: Buffer) => chunk.toString().includes('listening') && resolve());
    });
    await Promise.race([listening, within(PATIENCE_MS)]);
    const { out } = await this.#curl('approved', `http://${this.#cast.address('beer-0')}:${BEER_PORT}/`);
    const [from, to] = [this.#cast.address('approved'), this.#cast.address('beer-0')];
    const recorded = (): Buffer => firstConversation(readFileSync(file), from, to);
    // The kernel hands packets to the capture when it comes to it: of who was served that is the request, of who was not it is whatever is said.
    const served = out.includes('poured by');
    for (const begun = performance.now(); performance.now() - begun < PATIENCE_MS;) {
      const before = recorded();
      await sleep(200);
      if (served ? before.includes('GET / ') : before.length > 0 && before.equals(recorded())) break;
    }
    const ended = new Promise((resolve) => dump.on('close', resolve));
    dump.kill('SIGINT');
    await ended;
    return recorded();
  }

  async #numbers(): Promise<void> {
    const pages = await Promise.all(this.#cast.sidecars.map((pod) => this.#cast.metrics(pod.name)));
    this.#report.section(
      '6. The same in numbers',
      "Verdicts about connections, summed over all sidecars' Prometheus pages.",
    );
    for (const line of totals(pages)) this.#report.note(line);
  }

  /** Somebody wants a beer. */
  async #drink(step: string, name: string, expected: 'beer' | 'refused', family: 0 | 1 = 0): Promise<void> {
    const url = this.#beer(family);
    const known = this.#known(name, family);
    const begun = performance.now();
    const { out } = await this.#curl(name, url);
    const milliseconds = performance.now() - begun;
    const flow = await this.#cast.newBeerFlow(this.#cast.pod(name).addresses[family]!, known);
    const got = drinkOutcome(out.includes('poured by'), flow, milliseconds);
    this.#step(step, name, 'beer', expected, got, flow?.reason ?? '');
  }

  /** A connection that stays open until somebody ends it. */
  #openTab(name: string) {
    const child = this.#cast.world.start(name, ['curl', '-sN', '--max-time', '600', `${this.#beer()}tab`]);
    return {
      opened: new Promise<boolean>((resolve) => {
        child.stdout!.once('data', () => resolve(true));
        child.once('close', () => resolve(false));
      }),
      cut: new Promise<string>((resolve) => child.once('close', () => resolve('cut'))),
      end: () => child.kill('SIGKILL'),
    };
  }

  #publishPolicy(): void {
    this.#cast.publish('policy.yaml', readFileSync(this.#cast.policyFile, 'utf8'));
  }

  #curl(name: string, url: string) {
    return this.#cast.world.run(name, ['curl', '-sS', '--max-time', String((2 * TOLD_MS) / 1_000), url]);
  }

  #known(name: string, address = 0): number {
    const of = this.#cast.pod(name).addresses[address];
    return this.#cast.beerFlows().filter((flow) => flow.source.address === of).length;
  }

  #step(step: string, from: string, to: string, expected: string, got: string, reason: string): void {
    if (expected !== got) this.#allGood = false;
    this.#report.step({ step, from, to, expected, got, reason });
  }
}

/** Whatever else is waited for comes first or not; the demo does not stay for this. */
function within(milliseconds: number, otherwise = ''): Promise<string> {
  return sleep(milliseconds, otherwise, { ref: false });
}
