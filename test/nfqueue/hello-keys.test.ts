import t from 'tap';
import { NODE_CURVES } from '../../src/lib/node-curves.ts';
import { HelloKeys } from '../../src/nfqueue/hello-keys.ts';

const NONCE = Buffer.alloc(32, 1);

function counted() {
  let made = 0;
  const keys = new HelloKeys(() => {
    made++;
    return NODE_CURVES.generateEphemeral();
  });
  return { keys, made: () => made };
}

t.test('Hello keys: Hellos to one address share a key, those to another have their own', (t) => {
  const { keys, made } = counted();
  const first = keys.randomness('10.0.0.1', NONCE, 0);
  const again = keys.randomness('10.0.0.1', Buffer.alloc(32, 2), 29_999);
  t.equal(again.publicKey, first.publicKey);
  t.equal(again.nonce[0], 2, 'each with its own nonce');
  t.not(keys.randomness('10.0.0.2', NONCE, 29_999).publicKey, first.publicKey);
  t.equal(made(), 2);
  t.end();
});

t.test('Hello keys: a key whose private half was asked for is in no Hello any more', (t) => {
  const { keys } = counted();
  const first = keys.randomness('10.0.0.1', NONCE, 0);
  const under = keys.randomness('10.0.0.1', NONCE, 0);
  t.ok(first.privateKey);
  const next = keys.randomness('10.0.0.1', NONCE, 0);
  t.not(next.publicKey, first.publicKey);
  t.equal(under.privateKey, first.privateKey, 'who is under way with it can end');
  t.equal(keys.randomness('10.0.0.1', NONCE, 0).publicKey, next.publicKey, 'and spoils no later key');
  t.end();
});

t.test('Hello keys: none is used or kept when it is old, and they are bounded', (t) => {
  const { keys, made } = counted();
  const first = keys.randomness('10.0.0.1', NONCE, 0);
  t.not(keys.randomness('10.0.0.1', NONCE, 30_000).publicKey, first.publicKey);
  keys.dropOld(59_999);
  t.equal(keys.size, 1);
  keys.dropOld(60_000);
  t.equal(keys.size, 0);
  const key = NODE_CURVES.generateEphemeral();
  const many = new HelloKeys(() => key);
  for (let address = 0; address < 5_000; address++) many.randomness(String(address), NONCE, address);
  t.equal(many.size, 4_096);
  t.equal(made(), 2);
  t.end();
});
