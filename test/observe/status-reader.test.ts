import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { AdminServer, json, text } from '../../src/observe/admin-server.ts';
import { readStatus, statusText } from '../../src/observe/status-reader.ts';

const NOW = 1_800_000_000_000;
const STATUS = {
  pod: 'shop/web',
  ready: true,
  conditions: 'ready',
  mode: 'enforce',
  policies: ['networkpolicy/shop/a'],
  source: { kind: 'authority', confirmed: new Date(NOW - 7_000).toISOString(), connected: false },
  identity: {
    expires: NOW / 1000 + 3 * 3_600 + 40 * 60,
    trustDomain: 'cluster.local',
    labels: { app: 'web' },
    problem: null,
  },
  problems: ['the authority cannot be reached\u001b[2J'],
  connections: 3,
  connectionLimit: { most: 15_974, held: 12 },
  redirect: [{ family: 4, direction: 'inbound', inForce: false }],
};

t.test(
  'status: says identity, its end, age of policy, source, redirection and problems in plain lines',
  (t) => {
    const lines = statusText(STATUS, NOW);
    for (const line of [
      /^pod\s+shop\/web$/m,
      /^ready\s+yes$/m,
      /^labels\s+app=web$/m,
      /^identity ends\s+in 3 h 40 min$/m,
      /^source\s+authority, NOT CONNECTED$/m,
      /^policy as of\s+7 s ago$/m,
      /^connections\s+12 of at most 15974$/m,
      /^redirection\s+IPv4 inbound NOT IN FORCE$/m,
      /^problem\s+the authority cannot be reached/m,
    ]) {
      t.match(lines, line);
    }
    t.notOk(lines.includes('\u001b'), 'nothing of it steers a terminal');
    t.match(
      statusText({ ready: false, conditions: 'source: not read yet' }, NOW),
      /ready\s+no: source: not read yet/,
    );
    t.end();
  },
);

t.test(
  'status: is read from an admin socket, and a socket that is not there is named with the remedy',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'countersign-status-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'admin.sock');
    await t.rejects(readStatus(path), {
      message: /admin\.sock: .*countersign status NAMESPACE\/POD/,
      exitCode: 1,
    });
    let answer = json(200, STATUS);
    const server = new AdminServer({ 'GET /status': () => answer });
    await server.listenUnix(path);
    t.teardown(() => server.close());
    t.match(await readStatus(path), { pod: 'shop/web' });
    answer = text(200, 'rubbish');
    await t.rejects(readStatus(path), { message: /no status/ });
  },
);
