/** CLOCK_MONOTONIC in milliseconds, where `performance.now()` is 0. */
export const MONOTONIC_ORIGIN = Number(process.hrtime.bigint()) / 1e6 - performance.now();
