import { EXIT } from './errors.ts';

/** Resolves at the first SIGTERM or SIGINT. A second one ends the process at once: who asks twice will not wait. */
export function untilSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(EXIT.failure));
        resolve(signal);
      });
    }
  });
}
