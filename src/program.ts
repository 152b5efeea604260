import type { Command } from 'commander';
import { authorityCommand } from './commands/authority.ts';
import { bugReportCommand } from './commands/bug-report.ts';
import { checkCommand } from './commands/check.ts';
import { demoCommand } from './commands/demo.ts';
import { identityCommand } from './commands/identity.ts';
import { injectCommand, uninjectCommand } from './commands/inject.ts';
import { injectorCommand } from './commands/injector.ts';
import { installCommand, uninstallCommand } from './commands/install.ts';
import { policyCommand } from './commands/policy.ts';
import { proxyCommand } from './commands/proxy.ts';
import { redirectCommand } from './commands/redirect.ts';
import { statusCommand } from './commands/status.ts';
import { upgradeCommand } from './commands/upgrade.ts';
import { versionWithClusterCommand } from './commands/version-cluster.ts';
import { programOf } from './program-frame.ts';

/** The whole command line. */
export function buildProgram(): Command {
  return programOf([
    authorityCommand(),
    bugReportCommand(),
    checkCommand(),
    demoCommand(),
    identityCommand(),
    injectCommand(),
    uninjectCommand(),
    injectorCommand(),
    installCommand(),
    uninstallCommand(),
    policyCommand(),
    proxyCommand(),
    redirectCommand(),
    statusCommand(),
    upgradeCommand(),
    versionWithClusterCommand(),
  ]);
}
