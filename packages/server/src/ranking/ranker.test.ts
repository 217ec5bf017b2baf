import { expect, it } from 'vitest';
import { Ranker } from './ranker.js';
import { joinedJobs, LaneEnded, type RankerLane } from './ranker-lane.js';
import type { RankerJob, RankerScores } from './ranker-messages.js';

/** A lane that answers when it is told to: each row's own number as its score. */
class HandLane implements RankerLane {
  asked: RankerJob[][] = [];
  #answers: ((scores: RankerScores) => void)[] = [];
  #failures: ((reason: Error) => void)[] = [];
  #onEnd: ((reason: LaneEnded) => void) | null = null;

  score(jobs: RankerJob[]): Promise<RankerScores> {
    this.asked.push(jobs);
    return new Promise((resolve, reject) => {
      this.#answers.push(resolve);
      this.#failures.push(reject);
    });
  }

  answer(): void {
    const pCtr = Float32Array.from(joinedJobs(this.asked[this.asked.length - this.#answers.length]!).dense!);
    this.#failures.shift();
    this.#answers.shift()!({ pCtr, pCtcvr: null });
  }

  fail(reason: Error): void {
    this.#answers.shift();
    this.#failures.shift()!(reason);
  }

  onEnd(listener: (reason: LaneEnded) => void): void {
    this.#onEnd = listener;
  }

  end(): void {
    this.#onEnd!(new LaneEnded('gone'));
  }

  async close(): Promise<void> {}
}

function job(first: number, rows: number): RankerJob {
  return {
    rows,
    contexts: 1,
    context: new Int32Array(rows),
    contextIds: null,
    ids: null,
    contextDense: Float32Array.of(first),
    dense: Float32Array.from({ length: rows }, (_, i) => first + i),
    z: null,
    behaviour: null,
    history: null,
    poi: null,
    kept: { poi: new Int32Array(rows).fill(first), version: new Int32Array(rows) },
  };
}

function rankerOf(lanes: HandLane[], cut: boolean, limits = {}) {
  const batches: number[] = [];
  const ranker = new Ranker(
    { kind: 'native', lanes, cut, keptBytes: () => 7 },
    { batchRows: 1000, queuedRows: 1000, deadlineMs: 60_000, ...limits },
    (rows) => batches.push(rows),
  );
  return { ranker, batches };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it('puts small requests that come together into one run, and gives each its own scores', async () => {
  const lane = new HandLane();
  const { ranker, batches } = rankerOf([lane], false);
  const answers = [job(0, 2), job(10, 3), job(20, 1)].map((one) => ranker.score(one));
  await turn();
  expect(lane.asked.map((jobs) => jobs.length)).toEqual([3]);
  const { contexts, context, contextDense, kept } = joinedJobs(lane.asked[0]!);
  expect([contexts, [...context], [...contextDense!]]).toEqual([3, [0, 0, 1, 1, 1, 2], [0, 10, 20]]);
  expect([...kept!.poi]).toEqual([0, 0, 10, 10, 10, 20]);
  lane.answer();
  expect((await Promise.all(answers)).map(({ scores }) => [...scores.pCtr])).toEqual([[0, 1], [10, 11, 12], [20]]);
  expect(batches).toEqual([6]);
  expect(ranker.keptBytes).toBe(7);
});

it('cuts up a request that comes alone between idle lanes of one core each, and only there', async () => {
  for (const cut of [true, false]) {
    const lanes = [new HandLane(), new HandLane()];
    const { ranker, batches } = rankerOf(lanes, cut);
    const answer = ranker.score(job(0, 301));
    await turn();
    expect(batches).toEqual(cut ? [150, 151] : [301]);
    for (const lane of lanes) if (lane.asked.length > 0) lane.answer();
    const { scores } = await answer;
    expect([...scores.pCtr]).toEqual(Array.from({ length: 301 }, (_, i) => i));
  }
});

it('refuses with 503 what would wait beyond its bounds, and what has waited too long', async () => {
  const lane = new HandLane();
  const { ranker } = rankerOf([lane], false, { queuedRows: 5, deadlineMs: 50 });
  const first = ranker.score(job(0, 3));
  await turn();
  const second = ranker.score(job(1, 4));
  const refused = { status: 503, code: 'OVERLOADED' };
  await expect(ranker.score(job(2, 2))).rejects.toMatchObject(refused);
  expect(ranker.queuedRows).toBe(4);
  await new Promise((resolve) => setTimeout(resolve, 80));
  lane.answer();
  await first;
  await expect(second).rejects.toMatchObject(refused);
  expect(ranker.queuedRows).toBe(0);
});

it('goes on after a run that failed, and is broken once a lane has ended', async () => {
  const lane = new HandLane();
  const { ranker } = rankerOf([lane], false);
  const failed = ranker.score(job(0, 1));
  await turn();
  lane.fail(new Error('out of range'));
  await expect(failed).rejects.toThrow('out of range');
  const next = ranker.score(job(5, 1));
  await turn();
  lane.answer();
  expect([...(await next).scores.pCtr]).toEqual([5]);
  expect(ranker.broken).toBe(false);
  const running = ranker.score(job(6, 1));
  await turn();
  const waiting = ranker.score(job(7, 1));
  lane.end();
  await expect(running).rejects.toThrow('gone');
  await expect(waiting).rejects.toThrow('gone');
  expect(ranker.broken).toBe(true);
  await expect(ranker.score(job(8, 1))).rejects.toThrow('gone');
});
