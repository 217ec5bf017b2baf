import { auc, DataError, DuckdbSession, gauc, logLoss } from '@larr/core';
import type { EvaluationSamples } from '../training/part.js';

/** The ceiling: no model of this world can be expected to score above its true probabilities. */
export interface OracleMetrics {
  ctrAuc: number;
  ctrLogloss: number;
  ctcvrAuc: number | null;
  ctrGauc: number | null;
  ctcvrGauc: number | null;
}

/**
 * Scores the simulator's true probabilities (row_id, ctr, ctcvr) on the given rows.
 * @throws DataError `NO_ORACLE_ROW` where a row has no probability
 */
export async function measureOracle(path: string, samples: EvaluationSamples): Promise<OracleMetrics> {
  const ctr = new Float32Array(samples.rows).fill(Number.NaN);
  const ctcvr = new Float32Array(samples.rows);
  let low = samples.rowId[0]!;
  let high = low;
  for (const id of samples.rowId) {
    if (id < low) low = id;
    if (id > high) high = id;
  }
  const rowOf = new Map<bigint, number>();
  samples.rowId.forEach((id, row) => {
    rowOf.set(id, row);
  });
  {
    using db = await DuckdbSession.open();
    const reader = await db.connection.runAndReadAll(
      'SELECT row_id::BIGINT, ctr::DOUBLE, ctcvr::DOUBLE FROM read_parquet($1) WHERE row_id BETWEEN $2 AND $3',
      [path, low, high],
    );
    const [ids, clicks, orders] = reader.getColumns() as [bigint[], number[], (number | null)[]];
    ids.forEach((id, i) => {
      const row = rowOf.get(id);
      if (row === undefined) return;
      ctr[row] = clicks[i]!;
      ctcvr[row] = orders[i] ?? Number.NaN;
    });
  }
  const absent = ctr.findIndex((p) => Number.isNaN(p));
  if (absent >= 0) {
    throw new DataError('NO_ORACLE_ROW', `${path} has no probabilities for row_id ${samples.rowId[absent]}`);
  }
  const { order } = samples;
  const finite = (value: number) => (Number.isFinite(value) ? value : null);
  return {
    ctrAuc: auc(samples.click, ctr),
    ctrLogloss: logLoss(samples.click, ctr),
    ctcvrAuc: order ? auc(order, ctcvr) : null,
    ctrGauc: finite(gauc(samples.click, ctr, samples.user).gauc),
    ctcvrGauc: order ? finite(gauc(order, ctcvr, samples.user).gauc) : null,
  };
}
