import t from 'tap';
import { drinkOutcome, tabOutcome } from '../../src/demo/outcome.ts';

t.test('outcome: what the guest saw counts only where the record agrees', (t) => {
  const allow = { verdict: 'allow', reason: 'policy-allowed' } as const;
  const deny = { verdict: 'deny', reason: 'policy-denied' } as const;
  const other = { verdict: 'deny', reason: 'handshake-timeout' } as const;
  t.equal(drinkOutcome(true, allow, 20), 'beer');
  t.equal(drinkOutcome(true, deny, 20), 'beer, recorded as deny policy-denied');
  t.equal(drinkOutcome(true, undefined, 20), 'beer, no record');
  t.equal(drinkOutcome(false, deny, 20), 'refused');
  t.equal(drinkOutcome(false, deny, 20_000), 'refused after 20000 ms', 'and only if it was told');
  t.equal(drinkOutcome(false, undefined, 20), 'no beer, no record', 'a dead server refuses nobody');
  t.equal(drinkOutcome(false, other, 20), 'no beer, recorded as deny handshake-timeout');
  t.end();
});

t.test('outcome: a held connection was cut only where policy did it', (t) => {
  t.equal(tabOutcome(true, 'cut', 'policy-changed'), 'cut');
  t.equal(tabOutcome(true, 'open', undefined), 'open');
  t.equal(tabOutcome(true, 'cut', undefined), 'ended, no record');
  t.equal(tabOutcome(false, 'cut', 'policy-changed'), 'never opened');
  t.end();
});
