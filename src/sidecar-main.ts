import { proxyCommand } from './commands/proxy.ts';
import { redirectCommand } from './commands/redirect.ts';
import { versionCommand } from './commands/version.ts';
import { programOf } from './program-frame.ts';
import { runProgram } from './run-program.ts';

// What runs in every pod, and nothing else: its memory is paid once per pod (tools/bundle.ts).
void runProgram(programOf([proxyCommand(), redirectCommand(), versionCommand()]));
