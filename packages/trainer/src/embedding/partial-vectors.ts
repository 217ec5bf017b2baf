import { createHash } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readSafetensors, writeSafetensors } from '@larr/core';
import { notFiniteRow } from './finite-vectors.js';

/**
 * Vectors of a file that is not whole yet: shards in a directory beside it, each written at once. A run that was killed finds
 * there what it had computed. A shard is of one model; the texts' digests and the sha256 of the vectors stand in its header, and
 * one that does not fit them is as if it were not there. Several processes may write their own side by side.
 */
export class PartialVectors {
  readonly #present = new Map<string, Float32Array>();
  readonly #fresh: { digest: string; vector: Float32Array }[] = [];
  #shards = 0;

  private constructor(
    private readonly directory: string,
    private readonly model: string,
    private readonly dimension: number,
    /** What the names of the shards written here begin with. */
    private readonly writer: string,
  ) {}

  /**
   * Reads the shards in `directory`, which need not exist.
   * @param writer names this process among several that write there at once, and do so under other names; empty for one alone
   */
  static async open(directory: string, model: string, dimension: number, writer = ''): Promise<PartialVectors> {
    const partial = new PartialVectors(directory, model, dimension, writer === '' ? '' : `${writer}-`);
    for (const file of (await readdir(directory).catch(() => [])).sort()) {
      const [, prefix = '', number] = /^([\w-]*-)?(\d+)\.safetensors$/.exec(file) ?? [];
      if (number === undefined) continue;
      if (prefix === partial.writer) partial.#shards = Math.max(partial.#shards, Number(number) + 1);
      await partial.#read(join(directory, file));
    }
    return partial;
  }

  async #read(path: string): Promise<void> {
    try {
      const { tensors, metadata } = await readSafetensors(path);
      const table = tensors.embeddings;
      const digests = JSON.parse(metadata.digests!) as string[];
      if (metadata.model !== this.model || table?.dtype !== 'F32') return;
      if (table.shape[0] !== digests.length || table.shape[1] !== this.dimension) return;
      const data = table.data as Float32Array;
      if (metadata.sha256 !== sha256(data) || notFiniteRow(data, this.dimension) !== null) return;
      digests.forEach((digest, row) => {
        this.#present.set(digest, data.subarray(row * this.dimension, (row + 1) * this.dimension));
      });
    } catch {
      // A damaged shard costs computing its rows again.
    }
  }

  /** The vector of a text, where an earlier run computed it. */
  get(digest: string): Float32Array | undefined {
    return this.#present.get(digest);
  }

  /** Notes a vector; `save` writes it. */
  add(digest: string, vector: Float32Array): void {
    this.#fresh.push({ digest, vector });
  }

  /** Writes what was added since the last time as one more shard. */
  async save(): Promise<void> {
    const rows = this.#fresh.splice(0);
    if (rows.length === 0) return;
    const data = new Float32Array(rows.length * this.dimension);
    rows.forEach(({ vector }, i) => {
      data.set(vector, i * this.dimension);
    });
    await mkdir(this.directory, { recursive: true });
    await writeSafetensors(
      join(this.directory, `${this.writer}${String(this.#shards++).padStart(5, '0')}.safetensors`),
      { embeddings: { shape: [rows.length, this.dimension], data } },
      { model: this.model, digests: JSON.stringify(rows.map(({ digest }) => digest)), sha256: sha256(data) },
    );
  }

  /** Removes the shards, once the file they are of is whole. */
  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

function sha256(data: Float32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('hex');
}
