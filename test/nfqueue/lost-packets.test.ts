import t from 'tap';
import { LostPackets } from '../../src/nfqueue/lost-packets.ts';

t.test('nfqueue: packets that full queues and full sockets cost are counted once each', (t) => {
  const lost = new LostPackets();
  const line = (queue: number, queueDropped: number, userDropped: number) => ({
    queue,
    waiting: 0,
    queueDropped,
    userDropped,
  });
  t.equal(lost.since([line(1, 0, 0), line(2, 0, 0)]), 0);
  t.equal(lost.since([line(1, 5, 0), line(2, 0, 2)]), 7);
  t.equal(lost.since([line(1, 5, 0), line(2, 0, 2)]), 0);
  t.equal(lost.since([line(1, 6, 1), line(2, 0, 2)]), 2);
  t.end();
});
