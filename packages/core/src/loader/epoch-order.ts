import { Random } from '../world/random.js';

/** A run of rows that is read as a whole: a row group of a shard. */
export interface Block {
  file: string;
  rows: number;
  /** Bounds of row_id, inclusive; samples lie in order of row_id, so they choose exactly this block. */
  first: bigint;
  last: bigint;
}

/** Blocks that are in memory, and shuffled, together. */
export interface Window {
  blocks: Block[];
  rows: number;
  /** Position of its first row within the epoch. */
  start: number;
}

/** Streams of random numbers: one for the order of blocks, one per window for that of rows. */
const blockStream = 0x10ad;
const rowStream = 0x10ae;

/**
 * The order of an epoch, which follows from blocks, seed and epoch alone: blocks from all over the part are drawn at random and
 * put together into windows of about `windowRows`; `rowOrder` then shuffles within each. A position in it can be found
 * again without reading what comes before.
 * @param seed null keeps the order of the files
 */
export function epochWindows(
  blocks: readonly Block[],
  windowRows: number,
  seed: number | null,
  epoch: number,
): Window[] {
  const order = [...blocks];
  if (seed !== null) {
    const random = new Random(seed, blockStream, epoch);
    for (let i = order.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
  }
  const windows: Window[] = [];
  let start = 0;
  for (const block of order) {
    let window = windows.at(-1);
    if (window === undefined || window.rows + block.rows > windowRows) {
      window = { blocks: [], rows: 0, start };
      windows.push(window);
    }
    window.blocks.push(block);
    window.rows += block.rows;
    start += block.rows;
  }
  return windows;
}

/** A uniformly random order of a window's rows (Fisher–Yates). */
export function rowOrder(window: Window, seed: number, epoch: number): Uint32Array {
  // A position is a window's own number: no two windows of an epoch start at the same row.
  const random = new Random(seed, rowStream ^ Math.imul(epoch + 1, 0x9e3779b1), window.start);
  const order = new Uint32Array(window.rows);
  for (let i = 0; i < order.length; i++) order[i] = i;
  for (let i = order.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    const kept = order[i]!;
    order[i] = order[j]!;
    order[j] = kept;
  }
  return order;
}
