import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BundleError } from '@larr/core';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ModelRegistry, type RegistryEvent, watchBundle } from './model-registry.js';
import type { RankingModel } from './ranking-model.js';

/** A model that answers with its own name, some time after it was asked, and fails where it is closed before that. */
class Slow implements Pick<RankingModel, 'identity' | 'rank' | 'close'> {
  closed = false;
  readonly identity;
  constructor(bundle: string) {
    this.identity = { name: bundle, bundle };
  }
  async rank() {
    const [before] = [this.identity.bundle];
    await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 20));
    if (this.closed) throw new Error(`${before} was closed while it answered`);
    return { ranked: [{ poi: before, rank: 1, score: 1, pCtr: 1, pCtcvr: null }], fallbacks: null as never };
  }
  async close() {
    if (this.closed) throw new Error('closed twice');
    this.closed = true;
  }
}

let root: string;
let made: Slow[];
let events: RegistryEvent[];
let models: ModelRegistry;
const place = (name: string) => join(root, name);
const ask = (alias?: string) =>
  models.use(alias, async (model) => ({ by: model.identity.bundle, ...(await model.rank(null as never, () => {})) }));

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'larr-registry-'));
  for (const name of ['a', 'b', 'bad']) {
    mkdirSync(place(name));
    writeFileSync(join(place(name), 'manifest.json'), '{}');
  }
  made = [];
  events = [];
  models = new ModelRegistry({
    load: async (directory) => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      if (directory.endsWith('bad')) throw new BundleError('SELF_TEST_FAILED', 'p_ctr of row 3 differs');
      const model = new Slow(directory.split('/').at(-1)!);
      made.push(model);
      return model as unknown as RankingModel;
    },
    home: place('a'),
    root,
    onEvent: (event) => events.push(event),
  });
});
afterEach(async () => {
  await models.close();
  rmSync(root, { recursive: true, force: true });
});

it('changes bundles under requests in flight: none is dropped, each is answered by one bundle, old ones are closed', async () => {
  await models.load(place('a'));
  let asking = true;
  const answers: { by: string; ranked: { poi: string }[] }[] = [];
  const callers = Array.from({ length: 20 }, async () => {
    while (asking) answers.push(await ask());
  });
  for (const name of ['b', 'a', 'b', 'a', 'b']) await models.load(place(name));
  asking = false;
  await Promise.all(callers);
  expect(new Set(answers.map(({ by }) => by))).toEqual(new Set(['a', 'b']));
  for (const { by, ranked } of answers) expect(ranked[0]!.poi).toBe(by);
  await vi.waitFor(() => expect(made.map(({ closed }) => closed)).toEqual([true, true, true, true, true, false]));
});

it('goes on with the last good bundle where the new one fails, and says why', async () => {
  await models.load(place('a'));
  await expect(models.load(place('bad'))).rejects.toMatchObject({ code: 'SELF_TEST_FAILED' });
  await expect(models.load(place('nowhere'))).rejects.toMatchObject({ code: 'BUNDLE_MISSING' });
  expect((await ask()).by).toBe('a');
  expect(models.failure()).toMatchObject({ code: 'BUNDLE_MISSING', path: place('nowhere') });
  expect(events.map(({ kind }) => kind)).toEqual(['loaded', 'failed', 'failed']);
  await models.load(place('b'));
  expect(models.failure()).toBeNull();
});

it('rolls back to the bundle before, and forth again', async () => {
  await models.load(place('a'));
  await expect(models.rollback()).rejects.toMatchObject({ code: 'ROLLBACK_NOTHING' });
  await models.load(place('b'));
  // loading the same again is no step back
  await models.load(place('b'));
  await models.rollback();
  expect((await ask()).by).toBe('a');
  await models.rollback();
  expect((await ask()).by).toBe('b');
});

it('goes back to where a link led, not to where it leads now', async () => {
  const link = place('current');
  symlinkSync(place('a'), link);
  await models.load(link);
  symlinkSync(place('b'), place('next'));
  renameSync(place('next'), link);
  await models.load(link);
  await models.rollback();
  expect((await ask()).by).toBe('a');
});

it('keeps bundles of other aliases beside the current one until they are unloaded', async () => {
  await models.load(place('a'));
  await models.load(place('b'), 'challenger');
  expect([(await ask()).by, (await ask('challenger')).by]).toEqual(['a', 'b']);
  const answering = ask('challenger');
  expect(await models.unload('challenger')).toBe(true);
  expect((await answering).by).toBe('b');
  await expect(ask('challenger')).rejects.toMatchObject({ status: 400, code: 'BUNDLE_UNKNOWN' });
  expect(await models.unload('current')).toBe(false);
  await vi.waitFor(() => expect(made[1]!.closed).toBe(true), 5000);
});

it('waits for what is in flight before it closes', async () => {
  await models.load(place('a'));
  const answers = [ask(), ask(), ask()];
  await models.close();
  expect(made[0]!.closed).toBe(true);
  for (const answer of await Promise.all(answers)) expect(answer.by).toBe('a');
  await expect(ask()).rejects.toMatchObject({ status: 503 });
  await expect(models.load(place('b'))).rejects.toMatchObject({ code: 'STOPPING' });
});

it('notices a link that was moved and a directory that was replaced, not one that is being written', async () => {
  const link = place('current');
  symlinkSync(place('a'), link);
  const changed = vi.fn();
  const stop = watchBundle(link, changed, { everyMs: 10 });
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(changed).not.toHaveBeenCalled();
  symlinkSync(place('b'), place('next'));
  renameSync(place('next'), link);
  await vi.waitFor(() => expect(changed).toHaveBeenCalledTimes(1), 5000);
  writeFileSync(join(place('b'), 'manifest.json'), '{"half":');
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(changed).toHaveBeenCalledTimes(1);
  writeFileSync(join(place('b'), 'manifest.json'), '{"whole": 1}');
  await vi.waitFor(() => expect(changed).toHaveBeenCalledTimes(2), 5000);
  stop();
});

it('tries a bundle again that did not load, until it does: its files may come after its manifest', async () => {
  let refusals = 2;
  const changed = vi.fn(async () => {
    if (refusals-- > 0) throw new Error('a file is missing yet');
  });
  const stop = watchBundle(place('a'), changed, { known: 'another', everyMs: 5, retryMs: 10 });
  await vi.waitFor(() => expect(changed).toHaveBeenCalledTimes(3), 5000);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(changed).toHaveBeenCalledTimes(3);
  stop();
});
