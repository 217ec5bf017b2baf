import type { Tensor } from '@larr/torch';
import { createLinear, type Linear, linear } from '../layers/linear.js';
import { createMlp, type Mlp, type MlpOptions, mlp } from '../layers/mlp.js';
import type { Parameters } from '../layers/parameters.js';
import type { Task } from './inputs.js';

/** One tower per task: an MLP, then one logit. */
export type Towers = { hidden: Mlp; out: Linear }[];

/** Registers `<name>.<task>.hidden.<i>.*` and `<name>.<task>.out.weight|bias`. */
export function createTowers(
  p: Parameters,
  name: string,
  tasks: Task[],
  inputs: number,
  hidden: number[],
  options: MlpOptions = {},
): Towers {
  return tasks.map((task) => {
    const net = createMlp(p, `${name}.${task}.hidden`, inputs, hidden, options);
    return { hidden: net, out: createLinear(p, `${name}.${task}.out`, net.outputs, 1) };
  });
}

/**
 * One input [B, d] per task, or one for all of them → one logit [B] per task, in f32.
 * @param shallow [B, tasks]: what is added to the logits
 */
export function towerLogits(
  towers: Towers,
  input: Tensor | Tensor[],
  training: boolean,
  shallow: Tensor | null = null,
): Tensor[] {
  return towers.map((tower, k) => {
    const logit = linear(tower.out, mlp(tower.hidden, Array.isArray(input) ? input[k]! : input, training))
      .squeeze(1)
      .to('f32');
    return shallow === null ? logit : logit.add(shallow.select(1, k));
  });
}
