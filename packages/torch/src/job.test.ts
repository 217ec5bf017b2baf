import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launchOf, launchRank } from '@larr/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { byRank, launchedBy, mpirun, noMpirun } from '../test/mpirun.js';
import { joinJob } from './index.js';

const script = fileURLToPath(new URL('../test/job.mjs', import.meta.url));

describe('launch', () => {
  it('is many processes where mpirun or srun says so, and one in a batch script, alone, or under torchrun', () => {
    const openMpi = { OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '2' };
    expect(launchOf(openMpi)).toEqual({ rank: 1, size: 2, localSize: 1, variable: 'OMPI_COMM_WORLD_SIZE' });
    expect(launchOf({ ...openMpi, OMPI_COMM_WORLD_LOCAL_SIZE: '2' })).toMatchObject({ localSize: 2 });
    expect(launchOf({ PMI_RANK: '0', PMI_SIZE: '3' })).toMatchObject({ size: 3 });
    expect(
      launchOf({ SLURM_PROCID: '2', SLURM_NTASKS: '8', SLURM_STEP_NUM_TASKS: '4', SLURM_STEP_TASKS_PER_NODE: '2(x2)' }),
    ).toMatchObject({ size: 4, localSize: 2 });
    expect(launchOf({ ...openMpi, SLURM_PROCID: '0', SLURM_STEP_NUM_TASKS: '1' })).toMatchObject({ size: 2 });
    for (const alone of [
      {},
      { OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1' },
      { SLURM_PROCID: '0', SLURM_NTASKS: '8' },
      { SLURM_PROCID: '0', SLURM_NTASKS: '1', SLURM_STEP_NUM_TASKS: '1' },
      { RANK: '0', WORLD_SIZE: '4' },
    ])
      expect(launchOf(alone)).toBeNull();
    expect(launchRank({ RANK: '1', WORLD_SIZE: '4' })).toEqual({ index: 1, count: 4 });
    expect(joinJob()).toBeNull();
  });

  it('by another mpirun than that of the MPI which LARR was built with is told', () => {
    const alone = spawnSync(process.execPath, [script, 'place'], {
      env: { ...process.env, PMI_RANK: '1', PMI_SIZE: '2' },
      encoding: 'utf8',
    });
    expect(alone.status).not.toBe(0);
    expect(alone.stderr).toContain('TENSOR_JOB');
    expect(alone.stderr).toMatch(noMpirun === null ? /PMI_SIZE=2, but .+ sees 1: / : /PMI_SIZE=2|mpi/i);
  });
});

describe.skipIf(noMpirun !== null)(launchedBy('a job'), () => {
  const run = (processes: number, what: string) => mpirun(processes, [script, what]);

  it('knows its ranks, and adds and passes on numbers', async () => {
    const [places, told] = await Promise.all([run(2, 'place'), run(2, 'numbers')]);
    expect(byRank(places)).toEqual(
      [0, 1].map((rank) => ({ rank, size: 2, localRank: rank, localSize: 2, again: true })),
    );
    const same = { sum: [1, 0.2], gathered: [[0], [10]], many: 78, shared: { from: 1, text: 'ü' }, nothing: true };
    expect(byRank(told)).toEqual([0, 1].map((rank) => ({ rank, ...same })));
    expect([places.status, told.status]).toEqual([0, 0]);
  });

  it('sums tensors in rank order, to the same bits on each', async () => {
    const size = 3;
    const done = await run(size, 'sums');
    const ranks = byRank<{ rank: number; f32: string; f64: string; bf16: string; turned: number[]; different: number }>(
      done,
    );
    expect(ranks).toHaveLength(size);
    const added = (bits: (x: number) => number) =>
      [(r: number) => 1e8 * (r + 1), () => 0.1, (r: number) => r, (r: number) => -r].map((of) =>
        Array.from({ length: size }, (_, r) => bits(of(r))).reduce((a, b) => bits(a + b)),
      );
    const hex = (array: ArrayBufferView) => Buffer.from(array.buffer as ArrayBuffer).toString('hex');
    const weights = (size * (size + 1)) / 2;
    for (const rank of ranks) {
      expect(rank.f32).toBe(hex(Float32Array.from(added(Math.fround))));
      expect(rank.f64).toBe(hex(Float64Array.from(added((x) => x))));
      expect(rank.bf16).toBe(ranks[0]!.bf16);
      expect(rank.turned).toEqual([0, 3, 1, 4, 2, 5].map((x) => x * weights));
      expect(rank.different).toBe(0);
    }
    // [1e8 (1 + … + n), 0.1 n, …] with one rounding to 8 bits.
    const bf16 = Buffer.from(ranks[0]!.bf16, 'hex');
    const numbers = [0, 1, 2, 3].map(
      (i) => new Float32Array(new Uint32Array([bf16.readUInt16LE(2 * i) << 16]).buffer)[0]!,
    );
    [1e8 * weights, 0.1 * size, weights - size, size - weights].forEach((wanted, i) => {
      expect(Math.abs(numbers[i]! - wanted)).toBeLessThanOrEqual(Math.abs(wanted) * 2 ** -7);
    });
  });

  it('passes tensors of one rank to the others', async () => {
    const ranks = byRank(await run(2, 'broadcasts'));
    expect(ranks).toEqual([0, 1].map((rank) => ({ rank, all: Array(12).fill(1), i64: [1, 1], long: 0 })));
  });

  it.each([2, 3])(
    'of %i ranks with unequal shares has the InfoNCE and the gradients of the batch in one process',
    async (size) => {
      interface Part {
        rank: number;
        dtype: string;
        grouped: boolean;
        loss: number;
        q: number[];
        k: number[];
        scale: number;
        plain: number;
        whole: Omit<Part, 'whole' | 'plain'>;
      }
      const parts = byRank<Part>(await run(size, 'infoNce'));
      expect(parts).toHaveLength(6 * size);
      for (const dtype of ['f32', 'f64', 'bf16']) {
        for (const grouped of [false, true]) {
          const own = parts.filter((part) => part.dtype === dtype && part.grouped === grouped);
          const { whole } = own[0]!;
          const exact = { f64: 1e-12, f32: 2e-6, bf16: 1e-2 }[dtype]!;
          const near = (a: number[], b: number[]) => {
            expect(a).toHaveLength(b.length);
            for (const [i, x] of a.entries()) expect(Math.abs(x - b[i]!)).toBeLessThan(exact);
          };
          for (const { loss, plain } of own) {
            expect(loss).toBe(own[0]!.loss);
            near([loss], [whole.loss]);
            if (!grouped) near([plain], [whole.loss]);
          }
          near(
            own.flatMap(({ q }) => q),
            whole.q,
          );
          near(
            own.flatMap(({ k }) => k),
            whole.k,
          );
          near([own.reduce((sum, { scale }) => sum + scale, 0)], [whole.scale]);
          expect(Math.max(...whole.q.map(Math.abs))).toBeGreaterThan(10 * exact);
        }
      }
    },
  );

  it('tells all ranks of what one of them does wrong, and goes on', async () => {
    const ranks = byRank<{ rank: number; wrong: string[]; still: number }>(await run(2, 'badArgument'));
    expect(ranks).toHaveLength(2);
    for (const { wrong, still } of ranks) {
      expect(wrong[0]).toMatch(/do not do the same: rank 0 is at sum_ of 2, rank 1 at sum_ of 3/);
      expect(wrong[1]).toMatch(/do not do the same/);
      expect(wrong[2]).toMatch(/rank 0 is at barrier of 0, rank 1 at numbers of 1/);
      expect(wrong[3]).not.toBe('none');
      expect(wrong[4]).toMatch(/rank 0 is at broadcast_ from rank 5 of 8, rank 1 at broadcast_ from rank 0 of 8/);
      expect(wrong[5]).toMatch(/root must be a rank from 0 to 1, not 2/);
      expect(wrong[6]).toMatch(/rank 0 is at leave of 0, rank 1 at sum_ of 2/);
      expect(still).toBe(2);
    }
  });

  it('is the main thread’s', async () => {
    const ranks = byRank<{ rank: number; code: string; message: string; still: number }>(await run(2, 'worker'));
    expect(ranks).toMatchObject([0, 1].map((rank) => ({ rank, code: 'TENSOR_JOB', still: 2 })));
    for (const { message } of ranks) expect(message).toContain('worker thread');
  });

  it('ends where a rank ends well while others work together, and where one that has left aborts', async () => {
    const [early, aborted] = await Promise.all([run(2, 'endsEarly'), run(2, 'abortsAfterLeaving')]);
    expect(early.status).toBe(1);
    expect(early.stderr).toMatch(/rank 0 is at sum_ of 2, rank 1 at leave of 0/);
    expect(early.stderr).not.toContain('MPI_ERR_TRUNCATE');
    expect(aborted.status).toBe(5);
  });

  it('ends with the rank that fails', async () => {
    const [thrown, exited] = await Promise.all([run(2, 'fails'), run(2, 'exits')]);
    expect(thrown.status).toBe(1);
    expect(thrown.stderr).toContain('rank 1 has had enough');
    expect(exited.status).toBe(7);
  });
});

// MPI's own functions, put before those of libmpi: what MPI seldom does.
const odd = fileURLToPath(new URL('../test/odd-mpi.c', import.meta.url));
const noCompiler = noMpirun ?? (spawnSync('cc', ['--version']).status === 0 ? null : 'there is no C compiler');

describe.skipIf(noCompiler !== null)(
  `a job of an odd MPI${noCompiler === null ? '' : ` (skipped: ${noCompiler})`}`,
  () => {
    let folder: string;
    let library: string;
    const run = (what: string, oddity: string) =>
      mpirun(2, [script, what], () => {}, { LD_PRELOAD: library, LARR_ODD_MPI: oddity });

    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), 'larr-odd-mpi-'));
      library = join(folder, 'odd-mpi.so');
      const { status, stderr } = spawnSync('cc', ['-shared', '-fPIC', '-o', library, odd, '-ldl'], {
        encoding: 'utf8',
      });
      expect([status, stderr]).toEqual([0, '']);
    });
    afterAll(() => rmSync(folder, { recursive: true }));

    it('is refused where threads can’t call it in turn', async () => {
      const [usual, refused] = await Promise.all([run('place', 'none'), run('place', 'single')]);
      expect([usual.status, byRank(usual).length]).toEqual([0, 2]);
      expect(refused.status).not.toBe(0);
      expect(refused.stderr).toMatch(/TENSOR_JOB.*MPI_THREAD_SERIALIZED/s);
    });

    it('ends at a block that is lost on its way, and does not throw while others are under way', async () => {
      for (const lost of await Promise.all([run('lost', 'wait'), run('lost', 'send')])) {
        expect(lost.status).toBe(1);
        expect(lost.stderr).toMatch(/a block between the ranks was lost/);
        expect(lost.stderr).not.toContain('caught');
      }
    });
  },
);
