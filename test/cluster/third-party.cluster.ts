import t from 'tap';
import { debianImage } from '../support/debian-image.ts';
import {
  IDLE,
  InstalledCluster,
  list,
  namespace,
  pod,
  REFUSED,
  SERVER,
  service,
  template,
  workload,
} from '../support/installed-cluster.ts';
import { until } from '../support/until.ts';

t.setTimeout(900_000);

const PATIENCE_MS = 120_000;
const IMAGE = 'countersign.test/debian:1';
const OPT_IN = { 'countersign.io/inject': 'true' };
const BIN = '/usr/lib/postgresql/15/bin';
/** As Debian's own packages are started, without their maintainer scripts. */
const POSTGRES = `
install -d -o postgres -g postgres /data/db && cd /data &&
{ [ -e db/PG_VERSION ] || setpriv --reuid postgres --regid postgres --clear-groups ${BIN}/initdb -D db --auth-host trust -U postgres >/dev/null; } &&
echo 'host all all all trust' >> db/pg_hba.conf &&
exec setpriv --reuid postgres --regid postgres --clear-groups ${BIN}/postgres -D db -c listen_addresses='*' -c unix_socket_directories=/tmp`;
const NGINX = `
daemon off; pid /tmp/nginx.pid; error_log stderr; worker_processes 1;
events { worker_connections 256; }
http {
  access_log off; client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e;
  upstream shop { server web.store.svc.cluster.local:80; keepalive 4; }
  server {
    listen 8080;
    location /healthz { return 200 ok; }
    location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr; proxy_pass http://shop; }
  }
}`;

/** A policy of the namespace `store`: who may reach pods with `app`. */
function only(app: string, port: number, ...from: object[]): object {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: app, namespace: 'store' },
    spec: {
      podSelector: { matchLabels: { app } },
      ingress: [{ ports: [{ protocol: 'TCP', port }], ...(from.length === 0 ? {} : { from }) }],
    },
  };
}

const ofApp = (app: string): object => ({ podSelector: { matchLabels: { app } } });

t.test('servers that know nothing of Countersign, with the label on', { timeout: 900_000 }, async (t) => {
  const archive = debianImage(IMAGE, ['postgresql-15', 'nginx-light']);
  const installed = await InstalledCluster.start(t);
  const { cluster } = installed;
  const apply = (...objects: object[]): Promise<string> => cluster.apply(list(...objects));
  await cluster.importImage(archive);
  const debian = (script: string, more: object = {}): object => ({
    image: IMAGE,
    command: ['/bin/sh', '-c', script],
    ...more,
  });
  await apply(namespace('store', OPT_IN));

  t.test('PostgreSQL as a StatefulSet: by policy for the application, and for nobody else', async (t) => {
    const psql = [`${BIN}/psql`, '-h', 'db', '-U', 'postgres', '-tA', '-v', 'ON_ERROR_STOP=1', '-c'];
    await apply(
      workload('StatefulSet', 'store', 'db', 1, {
        members: { serviceName: 'db' },
        spec: { volumes: [{ name: 'data', emptyDir: {} }] },
        container: debian(POSTGRES, {
          ports: [{ name: 'postgres', containerPort: 5432 }],
          volumeMounts: [{ name: 'data', mountPath: '/data' }],
          readinessProbe: {
            exec: { command: [`${BIN}/pg_isready`, '-h', '/tmp', '-q'] },
            periodSeconds: 1,
            timeoutSeconds: 20,
          },
        }),
      }),
      service('store', 'db', { app: 'db' }, { clusterIP: 'None', ports: [{ port: 5432 }] }),
      only('db', 5432, ofApp('orders')),
      ...['orders', 'stranger'].map((app) =>
        pod('store', app, IDLE, { labels: { app }, container: debian('exec sleep 100000') }),
      ),
    );
    await installed.rolledOut('store', 'statefulset/db');
    await installed.ready('store', 'orders', 'stranger');
    const sql = (who: string, query: string): Promise<string> =>
      cluster.exec('store', who, [...psql, query], 'app').catch((error: unknown) => String(error));
    await until(
      'the application is answered',
      async () => (await sql('orders', 'select 1')) === '1\n',
      PATIENCE_MS,
    );
    t.match(await sql('orders', 'create table t as select generate_series(1, 50000) as n'), /SELECT 50000/);
    t.equal(await sql('orders', 'select sum(n) from t'), '1250025000\n');
    t.equal(
      (await sql('orders', 'select n from t order by n')).split('\n').length,
      50_001,
      'a long answer is whole',
    );
    t.match(await sql('stranger', 'select 1'), /reset by peer|closed the connection unexpectedly/);
  });

  t.test('a CronJob that dumps the database, run by hand', async (t) => {
    const dump = debian(`${BIN}/pg_dump -h db -U postgres -t t postgres | grep -cE '^[0-9]+$'`);
    const job = {
      backoffLimit: 0,
      template: template('', {
        labels: { app: 'orders' },
        container: dump,
        spec: { restartPolicy: 'Never' },
      }),
    };
    await apply({
      apiVersion: 'batch/v1',
      kind: 'CronJob',
      metadata: { name: 'dump', namespace: 'store' },
      spec: { schedule: '0 4 1 1 *', jobTemplate: { spec: job } },
    });
    await cluster.kubectl(['-n', 'store', 'create', 'job', 'dump-now', '--from=cronjob/dump']);
    await cluster.kubectl([
      '-n',
      'store',
      'wait',
      '--for=condition=Complete',
      'job/dump-now',
      '--timeout=170s',
    ]);
    const said = await cluster.kubectl(['-n', 'store', 'logs', 'job/dump-now', '-c', 'app']);
    t.equal(said, '50000\n', 'rows in the dump');
  });

  t.test(
    'nginx before an application, as an ingress controller: everybody to it, it alone to the application',
    async (t) => {
      const probe = { readinessProbe: { httpGet: { path: '/healthz', port: 8080 }, periodSeconds: 1 } };
      await apply(
        workload('Deployment', 'store', 'web', 2),
        service('store', 'web', { app: 'web' }),
        only('web', 8080, ofApp('edge')),
      );
      // nginx asks for the name when it starts, and ends where nobody has it.
      await installed.rolledOut('store', 'deployment/web');
      await apply(
        workload('Deployment', 'store', 'edge', 1, {
          container: debian(`printf '%s' "$CONF" > /tmp/nginx.conf && exec nginx -c /tmp/nginx.conf`, {
            ...probe,
            env: [{ name: 'CONF', value: NGINX }],
          }),
        }),
        service('store', 'edge', { app: 'edge' }, { type: 'NodePort' }),
        only('edge', 8080),
        namespace('outside', {}),
        pod('outside', 'plain', SERVER),
        pod('store', 'visitor', IDLE),
      );
      await installed.rolledOut('store', 'deployment/edge');
      await installed.ready('outside', 'plain');
      await installed.ready('store', 'visitor');
      const host = 'http://edge.store.svc.cluster.local';
      const ask = (what: string, who: string, where: string, url: string, wanted: RegExp): unknown =>
        t.resolves(installed.askUntil(where, who, url, wanted), what);
      await ask('who has no sidecar reaches nginx', 'plain', 'outside', `${host}/`, /^from web-/);
      await ask(
        'and not the application',
        'plain',
        'outside',
        'http://web.store.svc.cluster.local/',
        REFUSED,
      );
      await ask('nor does a pod with one', 'visitor', 'store', 'http://web/', REFUSED);
      const { spec } = await installed.json<{ spec: { ports: { nodePort: number }[] } }>([
        ...['-n', 'store', 'get', 'service', 'edge'],
      ]);
      const { items } = await installed.json<{ items: { status: { addresses: { address: string }[] } }[] }>([
        ...['get', 'nodes'],
      ]);
      const outside = `http://${items[0]!.status.addresses[0]!.address}:${spec.ports[0]!.nodePort}/`;
      await until(
        'the port of the node leads to it',
        async () =>
          /^from web-/.test(
            await cluster.onNode(['curl', '-sS', '--max-time', '20', outside]).catch(() => ''),
          ),
        PATIENCE_MS,
      );
    },
  );

  t.test('a DaemonSet runs on the node, and policy is about its pods as about all others', async (t) => {
    const agent = workload('Deployment', 'store', 'agent', 1) as { spec: { replicas?: number } };
    delete agent.spec.replicas;
    await apply(
      { ...agent, kind: 'DaemonSet' },
      service('store', 'agent', { app: 'agent' }),
      only('agent', 8080, ofApp('orders')),
    );
    await installed.rolledOut('store', 'daemonset/agent');
    await apply(pod('store', 'reader', IDLE, { labels: { app: 'orders' } }));
    await installed.ready('store', 'reader');
    const host = 'http://agent.store.svc.cluster.local/';
    await t.resolves(installed.askUntil('store', 'reader', host, /^from agent-/), 'the application');
    await t.resolves(installed.askUntil('outside', 'plain', host, REFUSED), 'who proves nothing');
  });
});
