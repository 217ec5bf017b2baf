import type { Tensor } from '@larr/torch';

/**
 * Scene vectors of one field differ little from each other (weekdays: cosine .998), so each field is centred on its own
 * mean and scaled by one number to unit variance on average (method.md, section 7). Not per dimension: a field of two
 * texts would become noise of ±1. A field of a single text keeps a zero vector: its presence is all it says.
 *
 * @param table [entries, d], in the order of the fields
 * @param ranges the rows of each field's texts, without the "missing" row
 * @returns [entries, d]; rows outside all ranges are zero
 */
export function standardiseByField(table: Tensor, ranges: { start: number; count: number }[]): Tensor {
  const out = table.clone().zero_();
  for (const { start, count } of ranges) {
    if (count > 0) out.narrow(0, start, count).copy_(standardise(table.narrow(0, start, count)));
  }
  return out;
}

/** A dimension whose spread is below this share of the mean one is noise, and is not blown up to the others' size. */
const LEAST_SPREAD = 0.1;

/** Centres rows [N, d] and scales each dimension to unit variance: for many rows, where a dimension's spread can be told from chance. */
export function standardiseColumns(rows: Tensor): Tensor {
  const centred = rows.sub(rows.mean([0], true));
  const variance = centred.square().mean([0], true); // [1, d]
  const mean = variance.mean().item();
  return mean > 1e-16 ? centred.div(variance.clamp(LEAST_SPREAD ** 2 * mean).sqrt()) : centred.zero_();
}

/** Centres rows [N, d] and scales them by one number so that the mean square of all entries is 1 (0 stays 0). */
export function standardise(rows: Tensor): Tensor {
  const centred = rows.sub(rows.mean([0], true));
  const rms = Math.sqrt(centred.square().mean().item());
  return rms > 1e-8 ? centred.mul(1 / rms) : centred.zero_();
}
