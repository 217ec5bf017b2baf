/**
 * The networks that are layers, experts and gates, and terms of a factorisation machine beside them, as a program of the native ranker (native-cuda's
 * FusedRanker), from the names under which a checkpoint holds their weights. The same networks as ONNX: onnx/networks.ts.
 */
import { encodeSafetensors } from '@larr/core';
import { type LayerStep, type MixStep, MOST_EXPERTS } from '@larr/native-cuda';
import type { ModelConfig, NetworkName } from '../models/config.js';
import { networkOf } from '../models/index.js';
import { clickLogitShift, type ModelInputs } from '../models/inputs.js';
import { expertLinear, foldedLinear, type LinearWeights, type ModelState, weightOf } from './onnx/layers.js';
import type { RankerGraph } from './ranker-graph.js';
import { shallowTerms } from './shallow-terms.js';

/** `ranker.json` of a bundle. */
export interface RankerProgram {
  /** width of each register */
  registers: number[];
  /** weights by their name in `ranker.safetensors` */
  steps: (LayerStep | MixStep)[];
  /** registers of the click's logit, and of the order's */
  logits: number[];
  clickShift: number;
  /** table of embeddings.safetensors [rows, logits], of which each ID adds its row to the logits; null: none */
  terms: string | null;
  /** name of the weights [logits, embedding] of the squared sum of the IDs' embeddings, which are added as well, halved; null: none */
  secondOrder: string | null;
}

/** A program as files of a bundle. */
export interface RankerProgramFiles {
  'ranker.json': string;
  'ranker.safetensors': Uint8Array;
}

/**
 * The program of a model over the inputs that its graph takes, as files of a bundle: `ranker.json` and `ranker.safetensors`, in which the columns of x come in the order
 * of FusedRanker's inputs. Null for a network that is made of more than that, or has more experts than the native ranker takes.
 * @param graph what the ranker's graph takes (rankerGraph)
 */
export function rankerProgram(
  model: string,
  inputs: ModelInputs,
  config: ModelConfig,
  state: ModelState,
  graph: RankerGraph,
): RankerProgramFiles | null {
  const name = networkOf(model, config);
  const network = networkPrograms[name];
  if (network === undefined) return null;
  const program = new ProgramWriter(inputColumns(inputs, config, state, graph));
  const streams = network(program, state, inputs.tasks.length, config);
  const logits = inputs.tasks.map((task, k) => {
    const hidden = mlp(program, state, `tower.${task}.hidden`, streams[k]!);
    return program.layer(`tower.${task}.out`, hidden, linearOf(state, `tower.${task}.out`), false);
  });
  if (program.steps.some((step) => step.kind === 'mix' && step.experts.length > MOST_EXPERTS)) return null;
  const terms = shallowTerms(name, config);
  const written: RankerProgram = {
    registers: program.registers,
    steps: program.steps,
    logits,
    clickShift: clickLogitShift(inputs),
    terms: terms?.table ?? null,
    secondOrder: terms?.secondOrder ?? null,
  };
  if (terms?.secondOrder) program.weights[terms.secondOrder] = weightOf(state, terms.secondOrder);
  const { context, row } = graph.inputs.dense;
  const dense = [...context, ...row];
  const ofDense = (weight: 'mean' | 'scale') => ({
    shape: [dense.length],
    data: Float32Array.from(dense, (f) => weightOf(state, `dense.${weight}`).data[f]!),
  });
  if (dense.length > 0) program.weights['dense.mean'] = ofDense('mean');
  if (dense.length > 0) program.weights['dense.scale'] = ofDense('scale');
  return {
    'ranker.json': `${JSON.stringify(written)}\n`,
    'ranker.safetensors': encodeSafetensors(program.weights),
  };
}

type Register = number;

/** What a layer reads: the inputs, or a register. */
type Read = Register | 'inputs';

/** Each task's stream. */
const networkPrograms: Partial<
  Record<NetworkName, (program: ProgramWriter, state: ModelState, tasks: number, config: ModelConfig) => Read[]>
> = {
  dnn: deep,
  'wide-deep': deep,
  deepfm: deep,
  esmm: (program, state, tasks) => experts(program, state, 'deep', new Array<Read>(tasks).fill('inputs')),
  mmoe: (program, state, tasks, config) =>
    extraction(program, state, 'extraction', { tasks, taskExperts: 0, sharedExperts: config.mmoe.experts }),
  ple: (program, state, tasks, config) => extraction(program, state, 'extraction', { tasks, ...config.ple }),
};

function deep(program: ProgramWriter, state: ModelState, tasks: number): Read[] {
  const stream = mlp(program, state, 'deep', 'inputs');
  return Array.from({ length: tasks }, () => stream);
}

/** Which columns of the network's input x are where in the program's, and the map that its behaviour input goes through before. */
interface InputColumns {
  /** columns of x before the behaviour input, and after it, in the program's order */
  before: number[];
  after: number[];
  behaviour: { from: number; weight: { shape: readonly number[]; data: Float32Array }; bias: Float32Array } | null;
  /** width of x */
  width: number;
}

function inputColumns(
  inputs: ModelInputs,
  { embeddingDim: dim }: ModelConfig,
  state: ModelState,
  { inputs: graph, tables }: RankerGraph,
): InputColumns {
  const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);
  const ids = (features: readonly number[]): number[] => features.flatMap((f) => range(f * dim, dim));
  const dense = (features: readonly number[]): number[] => features.map((f) => inputs.categorical.length * dim + f);
  let at = inputs.categorical.length * dim + inputs.dense.length;
  const next = (width: number): number => {
    at += width;
    return at - width;
  };
  const z = range(next(graph.z_s ?? 0), graph.z_s ?? 0);
  let behaviour: InputColumns['behaviour'] = null;
  if (graph.behaviour !== null) {
    const weight = weightOf(state, 'behaviour.weight');
    behaviour = { from: next(weight.shape[0]!), weight, bias: weightOf(state, 'behaviour.bias').data };
  }
  const vectors = graph.poi ? tables.poi_vectors!.dim : 0;
  const poi = range(next(vectors), vectors);
  return {
    before: [...ids(graph.ids.context), ...dense(graph.dense.context), ...z],
    after: [...ids(graph.ids.row), ...dense(graph.dense.row), ...poi],
    behaviour,
    width: at,
  };
}

/** Collects steps and weights. Registers are taken and given back, so that few are in use at once. */
class ProgramWriter {
  readonly registers: number[] = [];
  readonly steps: RankerProgram['steps'] = [];
  readonly weights: Record<string, { shape: readonly number[]; data: Float32Array }> = {};
  readonly #columns: InputColumns;
  readonly #free: Register[] = [];

  constructor(columns: InputColumns) {
    this.#columns = columns;
  }

  register(width: number): Register {
    const free = this.#free.findIndex((register) => this.registers[register] === width);
    return free >= 0 ? this.#free.splice(free, 1)[0]! : this.registers.push(width) - 1;
  }

  /** What is read no more. */
  release(...read: Read[]): void {
    for (const one of read) if (one !== 'inputs' && !this.#free.includes(one)) this.#free.push(one);
  }

  layer(name: string, from: Read, { weight, bias }: LinearWeights, relu: boolean): Register {
    const [out] = weight.shape as [number];
    const own = from === 'inputs' ? this.#ofInputs({ weight, bias }) : { weight, bias };
    this.weights[`${name}.weight`] = own.weight;
    if (own.bias !== null) this.weights[`${name}.bias`] = { shape: [out], data: own.bias };
    const to = this.register(out);
    this.steps.push({
      kind: 'layer',
      from: from === 'inputs' ? null : from,
      to,
      weight: `${name}.weight`,
      bias: own.bias === null ? null : `${name}.bias`,
      relu,
    });
    return to;
  }

  mix(gates: Register[], experts: Register[], seen: boolean[][]): Register[] {
    const to = gates.map(() => this.register(this.registers[experts[0]!]!));
    this.steps.push({ kind: 'mix', gates, experts, to, seen });
    return to;
  }

  /** A layer on x as one on the program's inputs: columns in their order, the behaviour vector's map multiplied in: W (M v + c) = (W M) v + W c. */
  #ofInputs({ weight, bias }: LinearWeights): LinearWeights {
    const { before, after, behaviour, width } = this.#columns;
    const [out] = weight.shape as [number];
    const [mapped, d] = (behaviour?.weight.shape ?? [0, 0]) as [number, number];
    const wide = before.length + d + after.length;
    const data = new Float32Array(out * wide);
    const shifted = behaviour === null ? bias : bias === null ? new Float32Array(out) : bias.slice();
    for (let o = 0; o < out; o++) {
      const of = (column: number): number => weight.data[o * width + column]!;
      let at = o * wide;
      for (const column of before) data[at++] = of(column);
      for (let i = 0; i < d; i++) {
        let sum = 0;
        for (let m = 0; m < mapped; m++) sum += of(behaviour!.from + m) * behaviour!.weight.data[m * d + i]!;
        data[at++] = sum;
      }
      for (const column of after) data[at++] = of(column);
      if (behaviour === null) continue;
      let sum = shifted![o]!;
      for (let m = 0; m < mapped; m++) sum += of(behaviour.from + m) * behaviour.bias[m]!;
      shifted![o] = sum;
    }
    return { weight: { shape: [out, wide], data }, bias: shifted };
  }
}

function linearOf(state: ModelState, name: string): LinearWeights {
  return { weight: weightOf(state, `${name}.weight`), bias: weightOf(state, `${name}.bias`).data };
}

/** layers/mlp.ts */
function mlp(program: ProgramWriter, state: ModelState, name: string, from: Read): Read {
  let h = from;
  for (let i = 0; state.has(`${name}.${i}.weight`); i++) {
    const next = program.layer(`${name}.${i}`, h, foldedLinear(state, `${name}.${i}`), true);
    // the first one's input may be read by others
    if (i > 0) program.release(h);
    h = next;
  }
  return h;
}

/** layers/experts.ts: what each expert reads → what each says. */
function experts(program: ProgramWriter, state: ModelState, name: string, reads: readonly Read[]): Read[] {
  return reads.map((read, e) => {
    let h = read;
    for (let i = 0; state.has(`${name}.${i}.weight`); i++) {
      const weights = expertLinear(state, `${name}.${i}`, e, reads.length);
      const next = program.layer(`${name}.${i}.${e}`, h, weights, true);
      if (i > 0) program.release(h);
      h = next;
    }
    return h;
  });
}

/** layers/extraction.ts */
function extraction(
  program: ProgramWriter,
  state: ModelState,
  name: string,
  { tasks, taskExperts, sharedExperts }: { tasks: number; taskExperts: number; sharedExperts: number },
): Read[] {
  const own = tasks * taskExperts;
  const count = own + sharedExperts;
  const groupOf = Array.from({ length: count }, (_, e) => (e < own ? Math.floor(e / taskExperts) : tasks));
  let streams: Register[] | null = null;
  for (let level = 0; state.has(`${name}.${level}.gate.weight`); level++) {
    const prefix = `${name}.${level}`;
    const last = !state.has(`${name}.${level + 1}.gate.weight`);
    const says = experts(
      program,
      state,
      `${prefix}.expert`,
      groupOf.map((group) => streams?.[group] ?? 'inputs'),
    ) as Register[];
    const gates = Array.from({ length: last ? tasks : tasks + 1 }, (_, g) =>
      program.layer(
        `${prefix}.gate.${g}`,
        streams?.[g] ?? 'inputs',
        { weight: gateOf(state, `${prefix}.gate.weight`, g, count), bias: null },
        false,
      ),
    );
    const seen = gates.map((_, g) => groupOf.map((group) => g === tasks || group === g || group === tasks));
    const mixed = program.mix(gates, says, seen);
    program.release(...gates, ...says, ...(streams ?? []));
    streams = mixed;
  }
  return streams!.slice(0, tasks);
}

/** One gate's weight [experts, in]: those on the inputs lie in one matrix [gates · experts, in], the others apart, [gates, in, experts]. */
function gateOf(state: ModelState, name: string, gate: number, count: number): LinearWeights['weight'] {
  const { shape, data } = weightOf(state, name);
  const width = shape[1]!;
  const own = data.slice(gate * count * width, (gate + 1) * count * width);
  if (shape.length === 2) return { shape: [count, width], data: own };
  const turned = own.map((_, at) => own[(at % width) * count + Math.floor(at / width)]!);
  return { shape: [count, width], data: turned };
}
