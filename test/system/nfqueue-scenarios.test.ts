import t from 'tap';
import { modeScenarios } from '../support/mode-scenarios.ts';
import { cannotNetns } from '../support/netns.ts';

const skip = cannotNetns();
t.setTimeout(900_000);

/** What holds in redirect mode holds between two pods with queues, and between one of each kind. */
for (const [client, server] of [
  ['nfqueue', 'nfqueue'],
  ['nfqueue', 'redirect'],
  ['redirect', 'nfqueue'],
] as const) {
  t.test(`client in ${client} mode, server in ${server} mode`, { skip, timeout: 290_000 }, (t) =>
    modeScenarios(t, { client, server }),
  );
}
