import fc from 'fast-check';
import t from 'tap';
import { decodeMessages, type Message } from '../../src/netlink/message.ts';
import { MessageWriter } from '../../src/netlink/message-writer.ts';
import { decodeQueueRule, writeQueueRules, writeRuleDump } from '../../src/netlink/queue-rules.ts';

const RULES = [
  { chain: 'queue_14100', queue: 14_100, count: 1 },
  { chain: 'queues_7_to_9', queue: 7, count: 3 },
];

function messagesOf(write: (writer: MessageWriter) => void): Message[] {
  const writer = new MessageWriter();
  write(writer);
  const { received, whole } = decodeMessages(writer.take().slice());
  t.ok(whole);
  return received.filter((one) => one.kind === 'message');
}

t.test('queue rules: a batch begins, has a rule for each chain and ends, all under one number', (t) => {
  const messages = messagesOf((writer) => writeQueueRules(writer, 9, 'countersign', RULES));
  t.strictSame(
    messages.map(({ type, sequence }) => [type, sequence]),
    [
      [16, 9],
      [0xa06, 9],
      [0xa06, 9],
      [17, 9],
    ],
  );
  t.strictSame(
    messages.flatMap((message) => decodeQueueRule(message) ?? []),
    RULES,
    'as they are read back',
  );
  t.end();
});

t.test('queue rules: bytes of a rule are those of nf_tables and xt_NFQUEUE', (t) => {
  const [, rule] = messagesOf((writer) =>
    writeQueueRules(writer, 1, 'c', [{ chain: 'q', queue: 0x1234, count: 2 }]),
  );
  const text = Buffer.from(rule!.bytes.slice(rule!.start, rule!.end)).toString('latin1');
  t.equal(text.slice(0, 1), '\x01', 'family inet');
  t.match(text, /c\0.*q\0.*target\0.*NFQUEUE\0/s);
  const numbers = Buffer.from(Uint16Array.of(0x1234, 2, 0, 0).buffer).toString('latin1');
  t.ok(text.endsWith(numbers), 'in the order of this machine, no flag');
  t.end();
});

t.test('queue rules: what does more, less or otherwise than to queue is none', (t) => {
  const [, good] = messagesOf((writer) => writeQueueRules(writer, 1, 'c', [RULES[0]!]));
  const changed = (change: (bytes: Uint8Array, view: DataView) => void): Message => {
    const bytes = good!.bytes.slice();
    change(bytes, new DataView(bytes.buffer));
    return { ...good!, bytes };
  };
  const at = (text: string): number => Buffer.from(good!.bytes).indexOf(text, good!.start, 'latin1');
  t.ok(decodeQueueRule(changed(() => {})));
  for (const [what, message] of [
    ['another message', { ...good!, type: 0xa00 }],
    ['another expression', changed((bytes) => bytes.set(Buffer.from('mmatch'.slice(0, 5)), at('target')))],
    ['another target', changed((bytes) => bytes.set(Buffer.from('NFLOG\0\0'), at('NFQUEUE')))],
    ['another revision', changed((_, view) => view.setUint32(at('NFQUEUE') + 8 + 4, 2))],
    ['with bypass', changed((bytes) => bytes.fill(1, good!.end - 4, good!.end - 3))],
  ] as const) {
    t.equal(decodeQueueRule(message), undefined, what);
  }
  const twice = messagesOf((writer) => {
    const one = (list: MessageWriter): MessageWriter =>
      list.nested(1, (expression) => expression.bytes(1, Buffer.from('counter\0')));
    const parts = good!.bytes.subarray(good!.start + 4, good!.end);
    const chain = parts.subarray(0, parts.length);
    writer.begin(0xa06, 0, 1).netfilter(1).raw(chain).nested(4, one).end();
  });
  t.equal(decodeQueueRule(twice[0]!), undefined, 'with another expression beside');
  t.end();
});

t.test('queue rules: no bytes of a rule make the reader fail', (t) => {
  const [, good] = messagesOf((writer) => writeQueueRules(writer, 1, 'countersign', [RULES[1]!]));
  const from = good!.bytes.slice(good!.start, good!.end);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(from.length - 1), fc.nat(255)), { maxLength: 8 }),
      fc.nat(from.length),
      (changes, length) => {
        const bytes = from.slice(0, length);
        for (const [at, value] of changes) if (at < length) bytes[at] = value;
        decodeQueueRule({ ...good!, bytes, start: 0, end: length });
      },
    ),
  );
  t.end();
});

t.test('queue rules: a dump names its table', (t) => {
  const [message] = messagesOf((writer) => writeRuleDump(writer, 3, 'countersign'));
  t.equal(message!.type, 0xa07);
  t.match(Buffer.from(message!.bytes).toString('latin1'), /countersign\0/);
  t.end();
});
