import type { LogEvent } from '@larr/core';
import { expect, it } from 'vitest';
import type { EventLog } from '../events/event-log.js';
import type { Assigned } from './experiment-book.js';
import { Exposures } from './exposures.js';

const assigned = [
  { experiment: { id: 'x', definition: { name: 'test' } }, arm: { name: 'a' } },
] as unknown as Assigned[];

/** A log whose writes end when they are told to, well or not. */
function held() {
  const writes: { events: readonly LogEvent[]; end: (well: boolean) => void }[] = [];
  const append = (events: readonly LogEvent[]) =>
    new Promise((resolve, reject) => {
      const end = (well: boolean) =>
        well ? resolve({ accepted: events.length, duplicates: 0 }) : reject(new Error('disk full'));
      writes.push({ events, end });
    });
  const counted: [number, string][] = [];
  const exposures = new Exposures({ append } as unknown as EventLog, (...told) => counted.push(told));
  return { writes, counted, record: (user: string) => exposures.record(user, assigned, 'b', 'r') };
}
const pending = Symbol('pending');
const now = (of: Promise<boolean>) => Promise.race([of, new Promise((resolve) => setImmediate(resolve, pending))]);

it('a second ranking waits for the write of the first, and none is written twice', async () => {
  const { record, writes, counted } = held();
  const both = [record('u'), record('u')];
  expect(await Promise.all(both.map(now))).toEqual([pending, pending]);
  expect(writes.map(({ events }) => events.length)).toEqual([1]);
  writes[0]!.end(true);
  expect(await Promise.all(both)).toEqual([true, true]);
  expect(await now(record('u'))).toBe(true);
  expect(writes).toHaveLength(1);
  expect(counted).toEqual([[1, 'written']]);
});

it('a write that fails is known to all who wait for it, and the next ranking tries again', async () => {
  const { record, writes, counted } = held();
  const both = [record('u'), record('u')];
  writes[0]!.end(false);
  expect(await Promise.all(both)).toEqual([false, false]);
  const again = record('u');
  expect(writes).toHaveLength(2);
  writes[1]!.end(true);
  expect(await again).toBe(true);
  expect(counted).toEqual([
    [1, 'failed'],
    [1, 'written'],
  ]);
});
