import t from 'tap';
import { modeScenarios } from '../support/mode-scenarios.ts';
import { cannotNetns } from '../support/netns.ts';

t.setTimeout(900_000);

t.test('redirect mode', { skip: cannotNetns(), timeout: 290_000 }, (t) =>
  modeScenarios(t, { client: 'redirect', server: 'redirect' }),
);
