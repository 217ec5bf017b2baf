import { expect, it } from 'vitest';
import { SharedWork } from './shared-work.js';

/** Work that ends when it is told to. */
function held() {
  let started = 0;
  const ends: { resolve: (value: number) => void; reject: (reason: Error) => void }[] = [];
  return {
    ends,
    started: () => started,
    work: () => {
      started++;
      return new Promise<number>((resolve, reject) => ends.push({ resolve, reject }));
    },
  };
}

it('is begun once however long it takes, and kept from its end on', async () => {
  let clock = 0;
  const shared = new SharedWork<number>(5000, () => clock);
  const { work, ends, started } = held();
  const first = shared.get('a', work);
  for (clock = 0; clock <= 60_000; clock += 3000) void shared.get('a', work);
  expect(started()).toBe(1);
  ends[0]!.resolve(7);
  expect(await first).toBe(7);
  clock += 4999;
  expect(await shared.get('a', work)).toBe(7);
  expect(started()).toBe(1);
  clock += 1;
  void shared.get('a', work);
  expect(started()).toBe(2);
  void shared.get('b', work);
  expect(started()).toBe(3);
});

it('that failed is told to all who wait, and tried again by the next', async () => {
  const shared = new SharedWork<number>(5000, () => 0);
  const { work, ends, started } = held();
  const both = [shared.get('a', work), shared.get('a', work)];
  ends[0]!.reject(new Error('no'));
  for (const one of both) await expect(one).rejects.toThrow('no');
  void shared.get('a', work);
  expect(started()).toBe(2);
});
