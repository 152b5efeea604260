/**
 * Writes the code cache of a bundle: runs it as `version`, and keeps what V8 has compiled by then.
 * A process of its own, since the bundle is a program that runs to its end.
 */
import { writeFileSync } from 'node:fs';
import { loadBundle, runBundle } from '../src/launch.ts';

const file = process.argv[2]!;
const script = loadBundle(file);
process.argv.splice(1, process.argv.length - 1, file, 'version');
process.on('exit', () => writeFileSync(`${file}.cache`, script.createCachedData()));
runBundle(script, file);
