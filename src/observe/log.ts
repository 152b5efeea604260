import { destination, type Logger, pino } from 'pino';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export function isLogLevel(text: string): text is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(text);
}

/**
 * The process's log: JSON lines on standard error, written at once, so that the last line before a crash is there. Its `level` may be
 * set at any time. No transport: those are worker threads.
 */
export function createLog(level: LogLevel, descriptor = 2): Logger {
  return pino(
    {
      level,
      base: null, // the container runtime knows who speaks
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination({ fd: descriptor, sync: true }),
  );
}
