import type { Tensor } from '@larr/torch';
import { createEmbeddingTable, type EmbeddingTable, embed } from './embedding-table.js';
import { constant, type Parameters, zero } from './parameters.js';

/**
 * Second-order term of a factorisation machine (Rendle 2010), per embedding dimension:
 * Σ_{f<g} v_f ⊙ v_g = ½ ( (Σ_f v_f)² − Σ_f v_f² ).
 *
 * @param v [B, F, d]
 * @returns [B, d]
 */
export function pairwiseInteractions(v: Tensor): Tensor {
  const sum = v.sum([1]); // [B, d]
  return sum
    .square()
    .sub(v.square().sum([1]))
    .mul(0.5);
}

/** Registers the table `<name>` [rows, tasks]: one weight per id and task, 0 at first. */
export function createLinearTerm(p: Parameters, name: string, rows: number, tasks: number): EmbeddingTable {
  return createEmbeddingTable(p, name, rows, tasks, zero);
}

/** Σ_f w_{k, id_f}: ids [B, F] of table rows → [B, tasks]. */
export function linearTerm(table: EmbeddingTable, ids: Tensor): Tensor {
  return embed(table, ids).sum([1]);
}

/** A factorisation machine over field embeddings that it shares with its model. */
export interface FactorizationMachine {
  /** w [rows, tasks] */
  firstOrder: EmbeddingTable;
  /** u [tasks, d] */
  secondOrder: Tensor;
}

/**
 * Registers the table `first_order` [rows, tasks], 0 at first, and `second_order.weight` [tasks, dim]. The machine (Rendle 2010, equation 1) has
 * one task and u = 1; here u starts at 1 and is learnt, so that the tasks may weigh the shared interactions differently.
 */
export function createFactorizationMachine(
  p: Parameters,
  rows: number,
  tasks: number,
  dim: number,
): FactorizationMachine {
  return {
    firstOrder: createLinearTerm(p, 'first_order', rows, tasks),
    secondOrder: p.parameter('second_order.weight', [tasks, dim], constant(1)),
  };
}

/** Σ_f w_{k, id_f} + u_k · Σ_{f<g} v_f ⊙ v_g: ids [B, F] of table rows and their embeddings v [B, F, d] → [B, tasks]. */
export function factorizationMachine(net: FactorizationMachine, ids: Tensor, v: Tensor): Tensor {
  return linearTerm(net.firstOrder, ids).add(pairwiseInteractions(v).linear(net.secondOrder));
}
