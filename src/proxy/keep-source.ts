import { EXIT, messageOf, UserError } from '../errors.ts';
import type { NativeAddon } from '../native.ts';

/**
 * Makes sure that this process may dial from the addresses of others, before it serves anybody.
 * @throws UserError that names the capability
 */
export function demandTransparent(addon: Pick<NativeAddon, 'tryTransparent'>): void {
  try {
    addon.tryTransparent();
  } catch (error) {
    throw new UserError(
      `--keep-source-address: the kernel does not let this process dial from the addresses of others (${messageOf(error)}). It takes the capability NET_ADMIN or NET_RAW, in effect: a process that is not root has those of its container only if they are on its file, as in Countersign's image (getcap) or ambient (setpriv --ambient-caps). Grant one, or leave the flag away here and for 'redirect apply'`,
      { exitCode: EXIT.failure },
    );
  }
}
