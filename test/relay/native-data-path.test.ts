import t from 'tap';
import { loadAddon } from '../../src/native.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import { testDataPathCompliance } from '../support/data-path-compliance.ts';

testDataPathCompliance(t, 'native data path', (events) => new NativeDataPath(loadAddon(), events));
