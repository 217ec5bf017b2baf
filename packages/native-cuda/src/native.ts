import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { KernelError } from './errors.js';

type Floats = Float32Array | null;

/** larr_native.node, as cpp/addon declares it. Arguments are checked before they come here. With `async` a promise comes back. */
export interface Native {
  /** `gpu`: the index that LARR_DEVICE asks for, -1 for the processor. */
  deviceInfo(): { gpu: number; isa: string; isas: string[]; threads: number; cudaCompiled: boolean };
  setErrorClass(type: typeof KernelError): void;
  infoNce(
    q: Float32Array,
    k: Float32Array,
    groups: Int32Array | null,
    batch: number,
    dim: number,
    scale: number,
    bf16: boolean,
    lseRow: Float32Array,
    lseCol: Float32Array,
    dq: Floats,
    dk: Floats,
    gpu: number,
    async: boolean,
  ): [number, number] | Promise<[number, number]>;
  gatherRows(table: Float32Array, tableRows: number, width: number, rows: Int32Array, out: Float32Array): void;
  mapFile(path: string): ArrayBuffer;
  /** `gpu` −1: the processor. The encoder, and why it is not on that GPU: empty where it is, or none was asked for. */
  makeEncoder(
    table: Float32Array,
    fieldOf: Int32Array,
    weights: Float32Array[],
    dims: Int32Array,
    bf16: boolean,
    gpu: number,
  ): [encoder: object, whyCpu: string];
  encode(
    encoder: object | null,
    rows: Int32Array,
    n: number,
    z: Float32Array,
    attention: Floats,
    async: boolean,
  ): undefined | Promise<undefined>;
  makeRanker(
    sizes: Int32Array,
    ids: Int32Array,
    dense: Int32Array,
    mean: Float32Array,
    scale: Float32Array,
    registers: Int32Array,
    steps: unknown[][],
    logits: Int32Array,
    clickShift: number,
    embedding: Float32Array,
    pois: Floats,
    memory: number,
    secondOrder: Floats,
    terms: Floats,
  ): object;
  rankerBytes(ranker: object): [number, number];
  /** The arrays stand in the order of `RankerRows` (fused-ranker.ts), then the scores' and whether to give a promise. */
  rankRows(
    ranker: object,
    rows: number,
    contexts: number,
    ...rest: (Float32Array | Int32Array | boolean | null)[]
  ): undefined | Promise<undefined>;
  score(
    encoder: object | null,
    rows: Int32Array,
    n: number,
    targets: Float32Array,
    oneTarget: boolean,
    scores: Float32Array,
    attention: Floats,
    topK: number,
    async: boolean,
  ): [Int32Array, Float32Array] | Promise<[Int32Array, Float32Array]>;
}

/** Where the addon lies. */
export const path = fileURLToPath(new URL('../build/Release/larr_native.node', import.meta.url));

function load(): Native {
  if (!existsSync(path)) {
    throw new KernelError(
      'NOT_BUILT',
      `the kernels' addon is not built: ${path} is missing; run pnpm build:native in packages/native-cuda`,
    );
  }
  const native = createRequire(import.meta.url)(path) as Native;
  native.setErrorClass(KernelError);
  return native;
}

let loaded: Native | undefined;

/** The addon, loaded at first use. @throws KernelError NOT_BUILT */
export function native(): Native {
  loaded ??= load();
  return loaded;
}
