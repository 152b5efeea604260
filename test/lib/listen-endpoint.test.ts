import t from 'tap';
import { listenEndpoint } from '../../src/lib/listen-endpoint.ts';

t.test(
  'listen endpoint: addresses of both families with a port; anything else is refused by flag and value',
  (t) => {
    t.strictSame(listenEndpoint('--x', '0.0.0.0:14020'), { address: '0.0.0.0', port: 14020 });
    t.strictSame(listenEndpoint('--x', '[::]:0'), { address: '::', port: 0 });
    for (const value of [
      '',
      ':80',
      '80',
      '::1:80',
      '[::1]',
      '1.2.3.4:65536',
      '1.2.3.4:',
      'localhost:80',
      '[1.2.3.4:80',
    ])
      t.throws(
        () => listenEndpoint('--x', value),
        { message: `--x ${value}: write ADDRESS:PORT`, exitCode: 2 },
        value,
      );
    t.end();
  },
);
