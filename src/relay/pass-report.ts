/** Numbers of a report on a connection that went by a pass, in the order of native/js_events.c. Times in us, CLOCK_MONOTONIC. */
export const REPORT = {
  kind: 0,
  id: 1,
  pass: 2,
  family: 3,
  address: 4,
  port: 8,
  acceptedAt: 9,
  establishedAt: 10,
  closedAt: 11,
  cause: 12,
  bytesIn: 13,
  bytesOut: 14,
  synData: 15,
  synRetransmits: 16,
  fields: 17,
} as const;
/** Whether such a connection is open, has ended, or is told once as a whole. */
export const REPORT_KIND = { open: 0, closed: 1, whole: 2 } as const;
