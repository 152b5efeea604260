import fc from 'fast-check';
import t from 'tap';
import { type FlowRecord, flowRecord, RECORD_FIELDS, recordLine } from '../../src/observe/record.ts';
import { ALLOWED, DENIED, ENDING, FACTS } from './facts.ts';

/** What breaks lines, terminals and readers of JSON, often. */
const UNIT = fc.constantFrom(
  'a',
  'é',
  '"',
  '\\',
  '🍺',
  '\ud83c',
  '\n',
  '\u0000',
  '\u001b',
  '\u007f',
  '\u009b',
  '\u2028',
  '\u202e',
);
const NOW = Date.UTC(2026, 10, 21, 7, 0, 0, 5);

t.test('flow record: an allowed connection is exactly this line', (t) => {
  t.equal(
    recordLine(flowRecord(FACTS, ALLOWED, ENDING, NOW)),
    '{"time":"2026-11-21T07:00:00.005Z","direction":"inbound","verdict":"allow","reason":"policy-allowed",' +
      '"peer":"proven","handshake":"full",' +
      '"source":{"namespace":"shop","pod":"web-1","trust_domain":null,"address":"10.0.0.1","port":40000},' +
      '"destination":{"namespace":"shop","pod":"db-0","trust_domain":null,"address":"10.0.0.2","port":5432},' +
      '"policy":"networkpolicy/shop/db-allow","rule":1,"bytes_in":1200,"bytes_out":34000,"duration_ms":12.3,"detail":null}',
  );
  t.end();
});

t.test('flow record: what is not known is null and never missing', (t) => {
  const facts = {
    ...FACTS,
    peer: 'unproven',
    handshake: 'none',
    source: { address: 'fd00::9', port: 1 },
  } as const;
  const record = flowRecord(facts, { verdict: 'deny', reason: 'not-ready', detail: '' }, ENDING, NOW);
  t.strictSame(record.source, {
    namespace: null,
    pod: null,
    trust_domain: null,
    address: 'fd00::9',
    port: 1,
  });
  t.strictSame([record.policy, record.rule, record.detail], [null, null, null]);
  t.strictSame(Object.keys(JSON.parse(recordLine(record)) as object), Object.keys(RECORD_FIELDS));
  t.end();
});

t.test('flow record: fields and their order are those of the reference', (t) => {
  t.strictSame(Object.keys(flowRecord(FACTS, DENIED, ENDING, NOW)), Object.keys(RECORD_FIELDS));
  t.end();
});

t.test('flow record: whatever texts it is made from, it is one bounded line that reads back', (t) => {
  const hostile = fc.string({ unit: UNIT, maxLength: 3_000 });
  fc.assert(
    fc.property(hostile, hostile, hostile, (name, policy, detail) => {
      const facts = { ...FACTS, source: { ...FACTS.source, namespace: name, pod: name } };
      const record = flowRecord(facts, { ...DENIED, policy, detail }, ENDING, NOW);
      const line = recordLine(record);
      t.strictSame(JSON.parse(line) as FlowRecord, record);
      return line.length < 6_000 && !/[\p{Cc}\p{Cf}\p{Zl}]|\\u/u.test(line) && line.isWellFormed();
    }),
    { numRuns: 200 },
  );
  t.end();
});
