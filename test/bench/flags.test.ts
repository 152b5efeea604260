import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { amount, count, helpOf, oneOf, readFlags, someOf, text, yes } from '../../bench/flags.ts';

const FLAGS = {
  rounds: count('how often', 5, 100),
  seconds: amount('how long', 0.5),
  mode: oneOf('which way', ['redirect', 'nfqueue'], 'redirect'),
  only: someOf('which of them', ['one', 'two']),
  against: text('another', 'FOLDER'),
  haproxy: yes('beside it'),
};

t.test('flags of bench: what nobody says is as the program has it', (t) => {
  t.strictSame(readFlags(FLAGS, []), {
    kind: 'values',
    values: {
      rounds: 5,
      seconds: 0.5,
      mode: 'redirect',
      only: ['one', 'two'],
      against: undefined,
      haproxy: false,
    },
  });
  t.end();
});

t.test('flags of bench: what is said is read', (t) => {
  const said = '--rounds 7 --seconds .25 --mode nfqueue --only two --against /a --haproxy'.split(' ');
  t.strictSame(readFlags(FLAGS, said), {
    kind: 'values',
    values: { rounds: 7, seconds: 0.25, mode: 'nfqueue', only: ['two'], against: '/a', haproxy: true },
  });
  t.end();
});

t.test('flags of bench: what is wrong is told with the flag and what to write', (t) => {
  const wrong = [
    ['--nope', /Unknown option '--nope'/],
    ['nope', /Unexpected argument 'nope'/],
    ['--rounds', /argument missing/],
    ['--rounds=0', /^--rounds 0: write a whole number from 1 to 100$/],
    ['--rounds=101', /^--rounds 101: /],
    ['--rounds=1e2', /^--rounds 1e2: /],
    ['--seconds=0', /^--seconds 0: write a number above 0$/],
    ['--seconds=-1', /^--seconds -1: /],
    ['--seconds=NaN', /^--seconds NaN: /],
    ['--mode=both', /^--mode both: write redirect or nfqueue$/],
    ['--only=one,three', /^--only one,three: write one or two$/],
    ['--against=', /^--against : write FOLDER$/],
    ['--haproxy=no', /does not take an argument/],
  ] as const;
  for (const [said, problem] of wrong) t.match(readFlags(FLAGS, [said]), { kind: 'wrong', problem }, said);
  t.end();
});

t.test('flags of bench: the help names every flag and what it is unless told', (t) => {
  t.strictSame(readFlags(FLAGS, ['--help', '--rounds=3']), { kind: 'help' });
  const help = helpOf('bench/one.ts', 'What it does.', FLAGS);
  for (const name of Object.keys(FLAGS)) t.match(help, `--${name}`);
  t.match(help, /how often; 5 unless told/);
  t.end();
});

t.test(
  'flags of bench: every program refuses a wrong one with a sentence and status 2, before it does anything',
  (t) => {
    const cwd = join(import.meta.dirname, '../..');
    const run = (name: string, flag: string) =>
      spawnSync(process.execPath, [`bench/${name}.ts`, flag], { cwd, encoding: 'utf8' });
    const programs = [
      'awake',
      'eager',
      'first-contact',
      'flows',
      'handshake',
      'many-flows',
      'resumed',
      'run',
      'soak',
      'wire',
    ];
    for (const name of programs) {
      const refused = run(name, '--nope');
      t.equal(refused.status, 2, name);
      t.match(
        refused.stderr,
        /^bench\/[a-z-]+\.ts: Unknown option '--nope'.*; --help tells what there is\n$/,
        name,
      );
    }
    const helped = run('resumed', '--help');
    t.match(helped, { status: 0, stderr: '', stdout: 'node bench/resumed.ts [FLAGS]' });
    t.end();
  },
);
