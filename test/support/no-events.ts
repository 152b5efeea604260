import type { DataPathEvents } from '../../src/relay/data-path.ts';

/** Nobody hears of connections. */
export const NO_EVENTS: DataPathEvents = {
  accepted: () => {},
  frame: () => {},
  notFrame: () => {},
  frameTooLarge: () => {},
  dialled: () => {},
  preamble: () => {},
  closed: () => {},
};
