// What this process takes of a processor, for the progress of live work.

/** Measures between one call and the next: `12% CPU`. */
export function createLoad(): () => string {
  let before = process.cpuUsage();
  let beforeMs = performance.now();
  let share = 0;
  return () => {
    const nowMs = performance.now();
    if (nowMs - beforeMs >= 1000) {
      const { user, system } = process.cpuUsage(before);
      share = (user + system) / 1000 / (nowMs - beforeMs);
      before = process.cpuUsage();
      beforeMs = nowMs;
    }
    return `${Math.round(share * 100)}% CPU`;
  };
}
