import t from 'tap';
import { conntrackFindings } from '../../src/redirect/conntrack-findings.ts';

const USUAL = { max: '262144\n', count: '17\n', tcp_be_liberal: '0\n', tcp_loose: '1\n', acct: '0\n' };
const found = (settings: Readonly<Record<string, string>>): string[] =>
  conntrackFindings((name) => settings[name]).map(({ level, what }) => `${level}: ${what}`);

t.test(
  'conntrack: what matters to NFQUEUE mode is said with its value, and nothing of it has to be changed',
  (t) => {
    t.strictSame(found(USUAL), [
      'ok: conntrack has room (17 of 262144)',
      'ok: nf_conntrack_tcp_be_liberal=0: either will do, verified connections are made liberal one by one',
      'ok: nf_conntrack_tcp_loose=1: either will do, a connection that was picked up in the middle is not verified',
      'note: nf_conntrack_acct=0: records of connections say nothing of bytes; set net.netfilter.nf_conntrack_acct=1 to have them',
    ]);
    t.match(found({ ...USUAL, acct: '1\n' }).at(-1), /^ok: nf_conntrack_acct=1/);
    t.end();
  },
);

t.test('conntrack: a table that is nearly full, or not there, is a problem with a remedy', (t) => {
  t.equal(found({ ...USUAL, count: '235929\n' })[0], 'ok: conntrack has room (235929 of 262144)');
  t.equal(
    found({ ...USUAL, count: '235930\n' })[0],
    'problem: conntrack is nearly full (235930 of 262144): raise net.netfilter.nf_conntrack_max',
  );
  t.equal(
    found({ ...USUAL, max: '0\n', count: '9\n' })[0],
    'ok: conntrack has room (9 of 0)',
    '0 is no limit',
  );
  t.strictSame(found({}), [
    'problem: connections are not tracked here: load the module nf_conntrack on the node (modprobe nf_conntrack)',
  ]);
  t.end();
});
