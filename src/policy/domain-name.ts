/** The pattern of the CRD (v1alpha2 `DomainName`), which has A-z where A-Z is meant, and so takes a few signs more. */
const PATTERN =
  /^(\*\.)?([a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?$/;

/** What is wrong with a name under `domainNames`; undefined: nothing. */
export function domainNameFault(text: string): string | undefined {
  // The longest name that DNS can carry, and a little more; the pattern is not tried on anything longer.
  if (text.length > 260) return 'is longer than a DNS name can be';
  return PATTERN.test(text)
    ? undefined
    : 'must be a DNS name of at least two labels, such as example.com; «*.» may stand before it';
}

/** Whether a name is one that a pattern means: `*.` stands for one or more whole labels (NPEP-133). Case does not matter. */
export function domainNameMatches(pattern: string, name: string): boolean {
  const [wanted, actual] = [normal(pattern), normal(name)];
  if (!wanted.startsWith('*.')) return wanted === actual;
  const suffix = wanted.slice(1);
  return actual.length > suffix.length && actual.endsWith(suffix) && !actual.startsWith('.');
}

function normal(name: string): string {
  const lower = name.toLowerCase();
  return lower.endsWith('.') ? lower.slice(0, -1) : lower;
}
