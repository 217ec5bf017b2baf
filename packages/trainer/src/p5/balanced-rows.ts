// What P5 learns from: impressions of the train part, half of them clicked.
import { join } from 'node:path';
import { type Dataset, DuckdbSession, ident, literal } from '@larr/core';
import { draws, shuffled } from '../language-model/draws.js';
import type { PromptRows } from './prompts.js';

export interface BalancedRows extends PromptRows {
  click: Float32Array;
  order: Float32Array | null;
  /** What the log-odds of a click are too high by, for rows drawn so and no others. */
  clickShift: number;
}

/**
 * Draws up to `count` rows of the first `available` of the train part, as many clicked as not where there are so many; which ones and in
 * which order, the seed decides.
 */
export async function balancedRows(
  dataset: Dataset,
  { count, available, seed }: { count: number; available: number; seed: number },
): Promise<BalancedRows> {
  const { directory, split, manifest } = dataset;
  using db = await DuckdbSession.open({ threads: 2 });
  const files = split.parts.train.files.map((file) => literal(join(directory, file))).join(', ');
  const part = `(SELECT * FROM read_parquet([${files}]) LIMIT ${available})`;
  const [totals] = await db.rows<{ rows: number; clicks: number }>(
    `SELECT count(*)::INTEGER AS rows, sum(click)::INTEGER AS clicks FROM ${part}`,
  );
  const clicks = totals!.clicks;
  const others = totals!.rows - clicks;
  const half = Math.floor(count / 2);
  const taken = [Math.min(others, Math.max(half, count - clicks)), Math.min(clicks, Math.max(half, count - others))];
  const scene = split.scene.map(({ field }) => ident(`scene_${field}`));
  const columns = ['user_index', 'poi_index', 'click', ...(manifest.orders ? ['"order"'] : []), ...scene].join(', ');
  const drawn = (click: 0 | 1) =>
    `(SELECT ${columns}, row_id FROM ${part} WHERE click = ${click} ORDER BY hash(row_id, ${seed}), row_id LIMIT ${taken[click]})`;
  const rows = await db.rows<Record<string, number>>(
    `SELECT ${columns} FROM (SELECT * FROM ${drawn(1)} UNION ALL SELECT * FROM ${drawn(0)}) ORDER BY row_id`,
  );
  const order = shuffled(rows.length, draws(seed, 'P5 rows'));
  const column = (name: string) => Array.from(order, (i) => rows[i]![name]!);
  return {
    rows: rows.length,
    user: Int32Array.from(column('user_index')),
    poi: Int32Array.from(column('poi_index')),
    scene: Int32Array.from(split.scene.flatMap(({ field }) => column(`scene_${field}`))),
    click: Float32Array.from(column('click')),
    order: manifest.orders ? Float32Array.from(column('order')) : null,
    clickShift: Math.log(taken[1]! / clicks) - Math.log(taken[0]! / others),
  };
}
