const FACTORS: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/**
 * A quantity of the API (`resource.Quantity`: `100m`, `1.5Gi`, `2e3`) as a number, near enough for comparing; undefined when it is none.
 */
export function quantity(text: string | number | undefined): number | undefined {
  const match =
    /^([+-]?\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:([eE][+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)$/.exec(
      String(text ?? ''),
    );
  if (match === null) return undefined;
  return Number(`${match[1]}${match[2] ?? ''}`) * FACTORS[match[3] ?? '']!;
}
