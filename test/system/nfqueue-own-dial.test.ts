import t from 'tap';
import { TOOLS } from '../redirect/pod-under-test.ts';
import { cannotNetns } from '../support/netns.ts';
import { ownDialAfterRefusals, ownDialByRules } from '../support/own-dial.ts';

const skip = cannotNetns();
t.setTimeout(900_000);

for (const tool of TOOLS.filter((one) => one !== 'nft')) {
  t.test(
    `own dial: from the port of an application's reset call it is not led to the proxy, nfqueue rules by ${tool}`,
    { skip, timeout: 290_000 },
    (t) => ownDialByRules(t, 'nfqueue', tool),
  );
}

t.test(
  'own dial: after calls that were refused a sidecar in nfqueue mode reaches the server from ports that those had',
  { skip, timeout: 290_000 },
  (t) => ownDialAfterRefusals(t, 'nfqueue'),
);
