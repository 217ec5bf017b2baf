import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ExperimentDefinition } from '@larr/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ExperimentBook } from './experiment-book.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'larr-experiments-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const define = (name: string, more: object = {}) =>
  ExperimentDefinition.parse({ name, arms: [{ name: 'a' }, { name: 'b', parameters: { by: 'pCtr' } }], ...more });
const users = Array.from({ length: 20_000 }, (_, u) => `user-${u}`);

/** Arm of each user in an experiment, null for those who are not in it. */
const arms = (book: ExperimentBook, name: string) =>
  users.map((user) => book.assign(user).find((a) => a.experiment.definition.name === name)?.arm.name ?? null);
const share = (list: unknown[]) => list.filter((x) => x !== null).length / list.length;

describe('the book of experiments', () => {
  it('raising the traffic brings users in, and never moves one from an arm to another', async () => {
    const book = await ExperimentBook.open(directory);
    await book.put(define('ramp', { traffic: 0.01 }));
    await book.start('ramp');
    let before = arms(book, 'ramp');
    for (const traffic of [0.05, 0.05, 0.3, 1]) {
      await book.put(define('ramp', { traffic }));
      const after = arms(book, 'ramp');
      before.forEach((arm, i) => {
        if (arm !== null) expect(after[i]).toBe(arm);
      });
      expect(share(after)).toBeGreaterThan(traffic - 0.012);
      expect(share(after)).toBeLessThan(traffic + 0.012);
      before = after;
    }
    expect(before.filter((arm) => arm === 'b').length / users.length).toBeCloseTo(0.5, 1);
    // lowered and raised again: the same users in the same arms
    await book.put(define('ramp', { traffic: 0.2 }));
    const low = arms(book, 'ramp');
    low.forEach((arm, i) => {
      if (arm !== null) expect(arm).toBe(before[i]);
    });
    await book.put(define('ramp', { traffic: 1 }));
    expect(arms(book, 'ramp')).toEqual(before);
  });

  it('gives a user at most one experiment of a layer, and refuses more users than a layer has', async () => {
    const book = await ExperimentBook.open(directory);
    for (const [name, traffic] of [
      ['one', 0.3],
      ['two', 0.3],
    ] as const) {
      await book.put(define(name, { traffic }));
      await book.start(name);
    }
    for (const user of users) expect(book.assign(user).length).toBeLessThanOrEqual(1);
    expect(share(arms(book, 'one'))).toBeCloseTo(0.3, 1);
    expect(share(arms(book, 'two'))).toBeCloseTo(0.3, 1);
    const one = arms(book, 'one');
    await book.put(define('three', { traffic: 0.5 }));
    await expect(book.start('three')).rejects.toMatchObject({ code: 'EXPERIMENT_LAYER_FULL', status: 409 });
    expect(book.get('three').state).toBe('draft');
    // Raised between others' slots, the first one's users stay where they are.
    await book.put(define('one', { traffic: 0.6 }));
    const raised = arms(book, 'one');
    one.forEach((arm, i) => {
      if (arm !== null) expect(raised[i]).toBe(arm);
    });
    await book.stop('two');
    await book.put(define('three', { traffic: 0.4 }));
    await book.start('three');
    for (const user of users) expect(book.assign(user).length).toBe(1);
  });

  it('layers are independent: both experiments of a user can be any pair of arms', async () => {
    const book = await ExperimentBook.open(directory);
    const none = [{ name: 'a' }, { name: 'b' }];
    await book.put(define('first', { layer: 'x', arms: none }));
    await book.put(define('second', { layer: 'y', arms: none }));
    await book.start('first');
    await book.start('second');
    const pairs = new Map<string, number>();
    for (const user of users) {
      const key = book
        .assign(user)
        .map(({ arm }) => arm.name)
        .join('');
      pairs.set(key, (pairs.get(key) ?? 0) + 1);
    }
    expect([...pairs.keys()].sort()).toEqual(['aa', 'ab', 'ba', 'bb']);
    for (const count of pairs.values()) expect(count / users.length).toBeCloseTo(0.25, 1);
  });

  it('refuses experiments of two layers that set the same thing', async () => {
    const book = await ExperimentBook.open(directory);
    await book.put(define('here', { layer: 'x' }));
    await book.put(define('there', { layer: 'y' }));
    await book.start('here');
    await expect(book.start('there')).rejects.toMatchObject({
      code: 'EXPERIMENT_CONFLICT',
      message: expect.stringContaining('here'),
    });
    await book.stop('here');
    await book.start('there');
  });

  it('refuses one layer that sets the bundle and another that sets what ranks: a bundle may not rank by it', async () => {
    const book = await ExperimentBook.open(directory);
    const bundle = [{ name: 'a' }, { name: 'b', bundle: 'clicks-only' }];
    const by = [{ name: 'a' }, { name: 'b', parameters: { by: 'pCtcvr' } }];
    const k = [{ name: 'a' }, { name: 'b', parameters: { k: 5 } }];
    for (const [name, arms] of Object.entries({ bundle, by, k })) await book.put(define(name, { layer: name, arms }));
    const refused = {
      code: 'EXPERIMENT_CONFLICT',
      message: expect.stringContaining('sets bundle and this one sets by'),
    };
    await book.start('bundle');
    await expect(book.start('by')).rejects.toMatchObject(refused);
    await book.start('k'); // how many are returned suits every bundle
    await book.stop('bundle');
    await book.start('by');
    await book.put(define('again', { layer: 'z', arms: bundle }));
    await expect(book.start('again')).rejects.toMatchObject({ code: 'EXPERIMENT_CONFLICT' });
    await book.put(define('together', { layer: 'by', arms: bundle, traffic: 0 }));
    await book.start('together');
  });

  it('holds users out of everything, and those stay out when more are', async () => {
    const book = await ExperimentBook.open(directory);
    await book.put(define('all'));
    await book.start('all');
    await book.setHoldout(0.1);
    const out = arms(book, 'all');
    expect(share(out)).toBeCloseTo(0.9, 1);
    await book.setHoldout(0.2);
    const more = arms(book, 'all');
    out.forEach((arm, i) => {
      if (arm === null) expect(more[i]).toBeNull();
      else if (more[i] !== null) expect(more[i]).toBe(arm);
    });
    expect(book.holdout.history.map(({ what }) => what)).toEqual(['0 → 0.1', '0.1 → 0.2']);
  });

  it('goes draft, running, paused, running, stopped; assigns only while it runs; and changes nothing that was given out', async () => {
    let hour = 0;
    const book = await ExperimentBook.open(directory, () => new Date(Date.UTC(2026, 0, 1, hour++)));
    await book.put(define('life'));
    await book.put(define('life', { salt: 'other' }));
    expect(book.assign('user-1')).toEqual([]);
    await expect(book.pause('life')).rejects.toMatchObject({ code: 'EXPERIMENT_STATE' });
    await book.start('life');
    expect(book.assign('user-1')).toHaveLength(1);
    const fixed = { salt: 'other', traffic: 0.5 };
    for (const change of [{ salt: 'third' }, { alpha: 0.1 }, { primary: 'gmv' }, { layer: 'else' }])
      await expect(book.put(define('life', { ...fixed, ...change }))).rejects.toMatchObject({
        code: 'EXPERIMENT_STATE',
      });
    await book.put(define('life', { ...fixed, description: 'half' }));
    await expect(book.remove('life')).rejects.toMatchObject({ code: 'EXPERIMENT_STATE' });
    await book.pause('life');
    expect(book.assign('user-1')).toEqual([]);
    await book.start('life');
    await book.stop('life');
    await expect(book.start('life')).rejects.toMatchObject({ code: 'EXPERIMENT_STATE' });
    const again = await ExperimentBook.open(directory);
    const { history, startedAt, stoppedAt, state } = again.get('life');
    expect(history.map(({ what }) => what)).toEqual([
      'created',
      'changed',
      'started',
      'traffic 1 → 0.5',
      'paused',
      'resumed',
      'stopped',
    ]);
    expect({ startedAt, stoppedAt, state }).toEqual({
      startedAt: '2026-01-01T02:00:00.000Z',
      stoppedAt: '2026-01-01T10:00:00.000Z',
      state: 'stopped',
    });
    await again.remove('life');
    await expect(async () => again.get('life')).rejects.toMatchObject({ code: 'EXPERIMENT_UNKNOWN', status: 404 });
  });

  it('another server that reads the file gives every user the same arm', async () => {
    const book = await ExperimentBook.open(directory);
    await book.put(define('same', { traffic: 0.4, arms: [{ name: 'a', weight: 3 }, { name: 'b' }] }));
    await book.start('same');
    const other = await ExperimentBook.open(directory);
    expect(arms(other, 'same')).toEqual(arms(book, 'same'));
  });

  it('changes asked for at once all hold, and a change that fails leaves all as it was', async () => {
    const book = await ExperimentBook.open(directory);
    await Promise.all(Array.from({ length: 8 }, (_, i) => book.put(define(`e${i}`, { traffic: 0.1 }))));
    await Promise.allSettled([book.start('e0'), book.start('nothing'), book.start('e1'), book.start('e0')]);
    const kept = await ExperimentBook.open(directory);
    expect(kept.experiments.map(({ state }) => state).filter((state) => state === 'running')).toHaveLength(2);
    expect(JSON.stringify(kept.experiments)).toBe(JSON.stringify(book.experiments));
  });

  it('names a file that is no book', async () => {
    writeFileSync(join(directory, 'experiments.json'), '{"format":"larr-experiments","version":1}');
    await expect(ExperimentBook.open(directory)).rejects.toMatchObject({ code: 'EXPERIMENTS_CORRUPT' });
    expect(readFileSync(join(directory, 'experiments.json'), 'utf8')).toContain('"version":1}');
  });
});
