import { BundleError, type SceneTexts } from '@larr/core';
import { gatherRows, SceneScorer } from '@larr/native-cuda';
import type { RankerInputs } from '../bundle/contents.js';

/** Scenes that are encoded sooner than another thread would have begun: some 5 µs each. */
const FEW = 16;

/** Attention per scene field, mean over heads: what is missing to 1 stays with the aggregation token. */
export type Attention = Float32Array;

interface Matrix {
  data: Float32Array;
  shape: readonly number[];
}

/**
 * z_s of scenes, from the bundle's table of (field, text) vectors. Texts without an entry are missing keywords; nothing is encoded
 * that the language model has not seen.
 */
export class SceneVectors {
  readonly fields: readonly string[];
  /** width of z_s */
  readonly width: number;
  readonly explainable: boolean;
  readonly #texts: SceneTexts;
  readonly #scorer: SceneScorer | null;
  readonly #table: Matrix;

  /**
   * @param tensors of scene.safetensors: `table` [entries, d], and the encoder's weights
   * @throws BundleError SCENE_INVALID where they do not fit together
   */
  constructor(
    fields: readonly string[],
    inputs: RankerInputs,
    texts: SceneTexts,
    tensors: Readonly<Record<string, Matrix>>,
  ) {
    const { table, ...weights } = tensors;
    const encoder = inputs.sceneEncoder;
    if (table === undefined || encoder === null || inputs.z_s === null) {
      throw new BundleError('SCENE_INVALID', 'the bundle has scene inputs but no scene table: export it again');
    }
    this.fields = fields;
    this.width = inputs.z_s;
    this.explainable = encoder.kind === 'encoder';
    this.#table = table;
    this.#texts = texts;
    this.#scorer =
      encoder.kind === 'concat'
        ? null
        : new SceneScorer({
            table: table.data,
            fieldOf: texts.fieldOf,
            fields: this.fields.length,
            weights: Object.fromEntries(Object.entries(weights).map(([name, { data }]) => [name, data])),
            dims: {
              d: table.shape[1]!,
              heads: encoder.heads,
              ffn: encoder.ffn,
              headHidden: encoder.headHidden,
              out: this.width,
            },
          });
  }

  /** Entry of a text in its field's part of the table; null where it has none. */
  entry(field: number, text: string): number | null {
    return this.#texts.entryOf(field, text);
  }

  /** A text of a field, for examples; null where it has none. */
  someText(field: number): string | null {
    return this.#texts.someText(field);
  }

  /** z_s [scenes, width] of rows of entries [scenes, fields], −1 = missing. */
  encode(rows: Int32Array): Float32Array | Promise<Float32Array> {
    if (this.#scorer === null) return this.#concatenate(rows);
    return rows.length <= FEW * this.fields.length ? this.#scorer.encodeSync(rows) : this.#scorer.encode(rows);
  }

  /** Also the attention of each scene: [fields], or null for models without attention. */
  async encodeWithAttention(rows: Int32Array): Promise<{ z: Float32Array; attention: Attention[] | null }> {
    if (this.#scorer === null) return { z: this.#concatenate(rows), attention: null };
    const { z, attention } = await this.#scorer.encodeWithAttention(rows);
    const n = this.fields.length;
    const scenes = rows.length / n;
    const heads = attention.length / (scenes * (1 + n));
    const means = Array.from({ length: scenes }, (_, scene) =>
      Float32Array.from({ length: n }, (_, field) => {
        let sum = 0;
        for (let head = 0; head < heads; head++) sum += attention[(scene * heads + head) * (1 + n) + 1 + field]!;
        return sum / heads;
      }),
    );
    return { z, attention: means };
  }

  dispose(): void {
    this.#scorer?.dispose();
  }

  /** noAL: the fields' vectors side by side; a missing one is zeros. */
  #concatenate(rows: Int32Array): Float32Array {
    return gatherRows(this.#table.data, this.#table.shape[1]!, rows);
  }
}
