import type { InstalledCluster } from './installed-cluster.ts';

/** Asks the Service `web` for ever, each time on a new connection, and says of each request whether it was answered. */
export const COUNTING = `
let good = 0;
const next = () => setTimeout(ask, 100);
const ask = () => require('http').get({ host: 'web', agent: false, timeout: 20000 }, (r) => {
  r.resume().on('end', () => { good++; console.log('good ' + good); next(); });
}).on('error', (e) => { console.log('bad ' + e.code + ' after ' + good + ' good'); next(); }).on('timeout', function () { this.destroy(new Error('timeout')); });
ask(); process.on('SIGTERM', () => process.exit());`;

/** What the pod `client` with {@link COUNTING} has counted so far. */
export async function counted(
  installed: InstalledCluster,
  namespace: string,
): Promise<{ good: number; failures: string[] }> {
  const log = await installed.kubectl(['-n', namespace, 'logs', 'client', '-c', 'app']);
  const lines = log.trim().split('\n');
  const good = Number(lines.findLast((line) => line.startsWith('good '))?.slice(5) ?? 0);
  return { good, failures: lines.filter((line) => line.startsWith('bad ')) };
}
