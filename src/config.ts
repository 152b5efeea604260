import { Option } from 'commander';

/**
 * A flag with its environment variable: `--metrics <host:port>` is also `COUNTERSIGN_METRICS`. Flags win. This is the only way that
 * the environment reaches the program; the generated reference lists every setting from the same objects.
 */
export function setting(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.env(`COUNTERSIGN_${option.name().toUpperCase().replaceAll('-', '_')}`);
}
