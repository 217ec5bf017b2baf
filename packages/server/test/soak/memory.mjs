const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resident memory, MiB, once a second. */
export async function sampleMemory({ call, into, over }) {
  while (!over()) {
    const { status, body } = await call('GET', '/v1/admin/health');
    if (status === 200) into.push(body.memory.rss / 2 ** 20);
    await sleep(1000);
  }
}

/** Growth beyond this, from the second third to the last, is a leak: a reload holds two bundles at once, so samples go up and down. */
const GROWTH = 1.1;
const SLACK_MIB = 48;

/** Whether memory stayed: the median of the last third against that of the second; the first is for warming up. */
export function steady(samples) {
  const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;
  const third = Math.floor(samples.length / 3);
  const [before, after] = [median(samples.slice(third, 2 * third)), median(samples.slice(2 * third))];
  const round = (mib) => Math.round(mib);
  return {
    flat: after <= before * GROWTH + SLACK_MIB,
    firstMiB: round(median(samples.slice(0, third))),
    middleMiB: round(before),
    lastMiB: round(after),
    mostMiB: round(Math.max(0, ...samples)),
    samples: samples.length,
  };
}
