import { availableParallelism } from 'node:os';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { action, type OptionsOf, withOptions } from './command-context.js';
import { defaultThreads } from './threads.js';

const names = ['LARR_THREADS', 'OMP_NUM_THREADS'] as const;
let before: (string | undefined)[];
const set = (values: (string | undefined)[]) => {
  names.forEach((name, i) => {
    if (values[i] === undefined) delete process.env[name];
    else process.env[name] = values[i];
  });
};
beforeEach(() => {
  before = names.map((name) => process.env[name]);
});
afterEach(() => {
  set(before);
  process.exitCode = undefined;
});

/** Threads that a command computes with, and what it leaves in the environment for the math libraries. */
async function threads(...words: string[]): Promise<(number | string | undefined)[]> {
  const seen: (number | string | undefined)[] = [];
  const program = new Command();
  withOptions(program.command('compute'), 'threads').action(
    action<OptionsOf<'threads'>, null>(
      async (options) => {
        seen.push(options.threads, ...names.map((name) => process.env[name]));
        return null;
      },
      () => '',
    ),
  );
  await program.parseAsync(['compute', ...words], { from: 'user' });
  return seen;
}

describe('--threads', () => {
  it.each([
    [['3', '5'], ['--threads', '2'], 2],
    [['3', '5'], [], 3],
    [[undefined, '5'], [], 5],
    [['', '4,2'], [], 4],
    [[undefined, 'all'], [], availableParallelism()],
    [[undefined, undefined], [], availableParallelism()],
  ] as [(string | undefined)[], string[], number][])(
    'with LARR_THREADS and OMP_NUM_THREADS = %j, %j: %i',
    async (env, words, wanted) => {
      set(env);
      expect(await threads(...words)).toEqual([wanted, String(wanted), String(wanted)]);
    },
  );

  it('is a share of the processors for each of several processes on a machine', async () => {
    const launch = (here: number) => ({
      OMPI_COMM_WORLD_RANK: '1',
      OMPI_COMM_WORLD_SIZE: '4096',
      OMPI_COMM_WORLD_LOCAL_SIZE: String(here),
    });
    expect(defaultThreads(launch(1))).toBe(availableParallelism());
    expect(defaultThreads(launch(4096))).toBe(1);
    expect(defaultThreads({ ...launch(4096), OMP_NUM_THREADS: '3' })).toBe(3);
  });

  it('refuses a LARR_THREADS that is no number as wrong usage', async () => {
    set(['many', '2']);
    expect(await threads()).toEqual([]);
    expect(process.exitCode).toBe(2);
    expect(await threads('--threads', '1')).toEqual([1, '1', '1']);
  });
});
