/** Time that the machine's CPUs were busy, in seconds since it started: /proc/stat, proc(5). */
export function busySeconds(stat: string, ticksPerSecond = 100): number {
  const fields = /^cpu +(.*)$/m.exec(stat)?.[1]?.split(' ').map(Number) ?? [];
  const [user = 0, nice = 0, system = 0, , , , , steal = 0] = fields;
  // Interrupts are left out: those of our own packets are many, and nobody's process is charged for them twice.
  return (user + nice + system + steal) / ticksPerSecond;
}

/** CPUs that somebody else used: what the machine was busy with less what our own processes say they used. */
export function foreignCpus(busy: number, own: number, seconds: number): number {
  return seconds <= 0 ? 0 : Math.max(0, busy - own) / seconds;
}
