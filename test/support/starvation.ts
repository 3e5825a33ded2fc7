const EVERY_MS = 10
/** Less is a timer's usual lateness: summed up over many turns it would excuse what is really slow. */
const LEAST_MS = 20

/** How long this process wanted to run and was not let: on a busy machine that is nobody's answering time. */
export interface Starvation {
  ms(): number
}

/** Watches from now on; ends with the test. What the process computes itself is no starvation. */
export function watchStarvation(t: { teardown(close: () => unknown): void }): Starvation {
  let total = 0
  let [at, cpu] = [performance.now(), process.cpuUsage()]
  const timer = setInterval(() => {
    const { user, system } = process.cpuUsage(cpu)
    const idleMs = performance.now() - at - (user + system) / 1000 - EVERY_MS
    if (idleMs > LEAST_MS) total += idleMs
    ;[at, cpu] = [performance.now(), process.cpuUsage()]
  }, EVERY_MS)
  t.teardown(() => clearInterval(timer))
  return { ms: () => total }
}
