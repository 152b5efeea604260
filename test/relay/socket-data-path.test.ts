import t from 'tap';
import { SocketDataPath } from '../../src/relay/socket-data-path.ts';
import { testDataPathCompliance } from '../support/data-path-compliance.ts';

testDataPathCompliance(t, 'socket data path', (events) => new SocketDataPath(events), 'net.Socket');
