/** How much longer `make long-test` searches than an ordinary one. */
const SOAK_FACTOR = 50;

// oxlint-disable-next-line node/no-process-env -- the one switch that test files share
export const soaking = process.env['COUNTERSIGN_SOAK'] === '1';

/** The number of runs of a property: so many ordinarily, many more in a long one. */
export function runs(ordinary: number): number {
  return soaking ? ordinary * SOAK_FACTOR : ordinary;
}
