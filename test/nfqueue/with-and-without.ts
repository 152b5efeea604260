/** Pods and the network between them, in a test. */
interface World {
  end(): Promise<unknown>;
}

/** Deadlines of handshakes count from real moments: where so much time passed besides (ms), it may have passed for one of the two alone. */
const STALL_MS = 150;
const MOST_AGAIN = 10;
const FIRST_PORT = 50_000;

/**
 * Does the same in a world with passes and in one without, and demands that it comes to the same, whatever happens. On a machine that stalled, a difference has to come
 * again and again.
 *
 * @param portsBetween of two connections, but one that comes on the ports of the one before
 * @param run does what is to be done and tells what it has come to
 * @throws Error that says how they differ
 */
export async function demandTheSame<W extends World, S extends { readonly reused: boolean }>(
  makeWorlds: () => readonly [byPass: W, alone: W],
  scenarios: readonly S[],
  portsBetween: number,
  run: (world: W, scenario: S, port: number, index: number) => unknown,
): Promise<void> {
  for (let again = 0; ; again++) {
    const worlds = makeWorlds();
    try {
      const begun = performance.now();
      const difference = firstDifference(worlds, scenarios, portsBetween, run);
      if (difference === undefined) return;
      if (performance.now() - begun < STALL_MS || again === MOST_AGAIN) throw new Error(difference);
    } finally {
      await Promise.all(worlds.map((world) => world.end()));
    }
  }
}

function firstDifference<W, S extends { readonly reused: boolean }>(
  worlds: readonly [W, W],
  scenarios: readonly S[],
  portsBetween: number,
  run: (world: W, scenario: S, port: number, index: number) => unknown,
): string | undefined {
  let port = FIRST_PORT;
  for (const [index, scenario] of scenarios.entries()) {
    if (!scenario.reused) port += portsBetween;
    const [byPass, alone] = worlds.map((world) =>
      JSON.stringify(run(world, scenario, port, index), withoutDetail, 1),
    );
    if (byPass !== alone) return `by passes:\n${byPass}\nalone:\n${alone}`;
  }
  return undefined;
}

/** Details of denials name counters, of which passes have others, and what random bytes read like. */
function withoutDetail(name: string, value: unknown): unknown {
  return name === 'detail' ? undefined : value;
}
