import { parseCidr } from '../lib/cidr.ts';

const MOST = 64;

/** `9090, 9091` as numbers; else what is wrong with it. */
export function listOfPorts(text: string): number[] | string {
  const words = wordsOf(text);
  if (typeof words === 'string') return words;
  const wrong = words.find((word) => !/^[1-9]\d{0,4}$/.test(word) || Number(word) > 65_535);
  return wrong === undefined ? words.map(Number) : `${JSON.stringify(wrong)} is no port`;
}

/** `10.0.0.0/8, 2001:db8::/32` as texts; else what is wrong with it. */
export function listOfCidrs(text: string): string[] | string {
  const words = wordsOf(text);
  if (typeof words === 'string') return words;
  const wrong = words.find((word) => parseCidr(word) === undefined);
  return wrong === undefined ? words : `${JSON.stringify(wrong)} is no network: write 10.0.0.0/8`;
}

function wordsOf(text: string): string[] | string {
  const words = text.split(',').map((word) => word.trim());
  return words.length > MOST ? `more than ${MOST} entries` : words;
}
