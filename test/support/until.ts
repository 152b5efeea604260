import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until something holds; the deadline is for machines ten times slower than this one. @throws Error that names what did not come */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs = 60_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`after ${timeoutMs} ms still not: ${what}`);
    await sleep(10);
  }
}
