import { type ModelConfig, type NetworkName, networksOfTowers } from '../models/config.js';
import { type ModelState, weightOf } from './onnx/layers.js';

/**
 * What a network adds to its towers' logits, as a ranker computes it:
 *
 *     Σ_f t_k(id_f) + ½ Σ_d u_{k,d} S_d²,     S = Σ_f v_f
 *
 * t is a table of one number per id and task, u [tasks, dim] or none. For a factorisation machine t holds what an id subtracts from the
 * square of the sum (withFoldedTerms), so that nothing is left but a gather and a linear map of the network's input.
 */
export interface ShallowTerms {
  /** name of the table t as an input, and of the weight [rows, tasks] that it is */
  table: string;
  weight: string;
  /** name of the weight u; null: no second-order term */
  secondOrder: string | null;
}

/** The terms of a network that can be written so; null where it has none, or others. */
export function shallowTerms(network: NetworkName, { interactions }: ModelConfig): ShallowTerms | null {
  if (network === 'wide-deep') return { table: 'wide', weight: 'wide', secondOrder: null };
  if (network !== 'deepfm' && !(networksOfTowers.has(network) && interactions === 'fm')) return null;
  return { table: 'first_order', weight: FOLDED_TERMS, secondOrder: 'second_order.weight' };
}

/** Name under which `withFoldedTerms` puts its table. */
const FOLDED_TERMS = 'first_order.folded';

/**
 * A model's weights, and beside them those of its factorisation machine that belong to one id alone, [rows, tasks]:
 *
 *     w_{k,id} and u_k · Σ_{f<g} v_f ⊙ v_g = ½ u_k · (S² − Σ_f v_f²)   ⇒   t_k(id) = w_{k,id} − ½ Σ_d u_{k,d} v_{id,d}²
 */
export function withFoldedTerms(state: ModelState): ModelState {
  if (!state.has('second_order.weight')) return state;
  const first = weightOf(state, 'first_order');
  const u = weightOf(state, 'second_order.weight').data;
  const v = weightOf(state, 'embedding').data;
  const [rows, tasks] = first.shape as [number, number];
  const dim = u.length / tasks;
  const data = new Float32Array(rows * tasks);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < tasks; k++) {
      let squares = 0;
      for (let i = 0; i < dim; i++) squares += u[k * dim + i]! * v[row * dim + i]! ** 2;
      data[row * tasks + k] = first.data[row * tasks + k]! - squares / 2;
    }
  }
  return new Map([...state, [FOLDED_TERMS, { shape: [rows, tasks], data }]]);
}
