import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let runs = 0;

/** Sends events in batches, some of them again, and keeps the ids of those that were acknowledged. */
export function eventLoad({ call, over, wrong, random }) {
  const run = runs++;
  const acknowledged = [];
  let stopped = false;
  let count = 0;
  const eventOf = (id) => ({ id, type: 'click', user: 'u1', poi: 'p1', time: '2026-01-10T12:00:00', position: 1 });
  const worker = async () => {
    while (!over() && !stopped) {
      const fresh = Array.from({ length: random.between(1, 40) }, () => `s${run}-${count++}`);
      const old = Array.from({ length: random.below(5) }, () => random.one(acknowledged)).filter(
        (id) => id !== undefined,
      );
      const repeated = new Set(old);
      const { status, body } = await call('POST', '/v1/events', { events: [...fresh, ...repeated].map(eventOf) });
      if (status === 200) {
        acknowledged.push(...fresh);
        if (body.accepted !== fresh.length || body.duplicates !== repeated.size)
          wrong('an event that came again was taken for a new one, or the other way round', {
            body,
            fresh: fresh.length,
            repeated: repeated.size,
          });
      } else if (status !== 503) {
        wrong('events were not taken', { status, body });
      }
      await sleep(random.between(5, 60));
    }
  };
  return {
    acknowledged,
    eventOf,
    stop: () => {
      stopped = true;
    },
    done: Promise.all([worker(), worker(), worker()]),
  };
}

/** How often each id is in the log. */
export function loggedIds(directory) {
  const ids = new Map();
  for (const name of readdirSync(directory).filter((file) => /^events-\d+\.jsonl$/.test(file)))
    for (const line of readFileSync(join(directory, name), 'utf8').split('\n')) {
      if (line === '') continue;
      const { id } = JSON.parse(line);
      ids.set(id, (ids.get(id) ?? 0) + 1);
    }
  return ids;
}
