import t from 'tap';
import { KEEP_SOURCE_ROUTING as ROUTING } from '../../src/redirect/plan-keep-source.ts';
import {
  routingCommands,
  routingLines,
  routingRemoval,
  routingState,
} from '../../src/redirect/plan-routing.ts';

/** As iproute2 6.1 prints them with -N -j. */
const LOCAL_RULE = { priority: 0, src: 'all', table: '255' };
const RULE = { priority: 14_014, src: 'all', fwmark: '0xc600000', fwmask: '0xff00000', table: '14014' };
const ROUTES = {
  4: { type: '2', dst: 'default', dev: 'lo', table: '14014', scope: '254', flags: [] },
  6: { type: '2', dst: 'default', dev: 'lo', table: '14014', metric: 1024, flags: [], pref: 'medium' },
};
const OTHER_ROUTE = { type: '2', dst: '127.0.0.1', dev: 'lo', table: '255', flags: [] };

function stateOf(family: 4 | 6, rules: object[], routes: object[]) {
  return routingState(family, ROUTING.table, JSON.stringify(rules), JSON.stringify(routes));
}

t.test('routing plan: what ip prints of our own routing is what was planned, for each family', (t) => {
  for (const family of [4, 6] as const) {
    const state = stateOf(family, [LOCAL_RULE, RULE], [ROUTES[family], OTHER_ROUTE]);
    t.strictSame(state.lines, routingLines(family, ROUTING));
    t.strictSame(
      routingRemoval(family, ROUTING.table, state).map((words) => words.join(' ')),
      [`ip -${family} rule del priority 14014 lookup 14014`, `ip -${family} route flush table 14014`],
    );
    t.strictSame(
      routingCommands(family, ROUTING).map((words) => words.join(' ')),
      [
        `ip -${family} route add local default dev lo table 14014`,
        `ip -${family} rule add priority 14014 fwmark 0xc600000/0xff00000 lookup 14014`,
      ],
      'the route before the rule that leads to it',
    );
  }
  t.end();
});

t.test('routing plan: others are not ours, and nothing of ours is nothing to remove', (t) => {
  const state = stateOf(4, [LOCAL_RULE, { ...RULE, table: '100' }], [OTHER_ROUTE]);
  t.strictSame(state, { lines: [], priorities: [] });
  t.strictSame(routingRemoval(4, ROUTING.table, state), []);
  t.strictSame(routingState(6, ROUTING.table, '', '').lines, []);
  t.end();
});

t.test('routing plan: another mark, mask, place, device or condition is not as planned', (t) => {
  const planned = routingLines(4, ROUTING);
  for (const rule of [
    { ...RULE, fwmask: '0xffffffff' },
    { ...RULE, fwmark: '0xc500000' },
    { ...RULE, priority: 40_000 },
    { ...RULE, iif: 'eth0' },
    { ...RULE, not: null },
    { priority: 14_014, src: 'all', table: '14014' },
  ]) {
    t.notSame(stateOf(4, [rule], [ROUTES[4]]).lines, planned, JSON.stringify(rule));
  }
  for (const route of [
    { ...ROUTES[4], dev: 'eth0' },
    { ...ROUTES[4], type: '7' },
    { ...ROUTES[4], dst: '10.0.0.0/8' },
  ]) {
    t.notSame(stateOf(4, [RULE], [route]).lines, planned, JSON.stringify(route));
  }
  t.notSame(stateOf(4, [RULE, RULE], [ROUTES[4]]).lines, planned, 'twice');
  t.strictSame(
    routingRemoval(4, ROUTING.table, stateOf(4, [RULE, { ...RULE, priority: 7 }], [])).length,
    2,
    'every rule that leads to our table goes',
  );
  t.end();
});

t.test('routing plan: output that is not JSON is an error', (t) => {
  t.throws(() => routingState(4, ROUTING.table, '0: from all lookup local', '[]'), SyntaxError);
  t.throws(() => routingState(4, ROUTING.table, '{}', '[]'), TypeError);
  t.end();
});
