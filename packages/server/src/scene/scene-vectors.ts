import { BundleError } from '@larr/core';
import { gatherRows, SceneScorer } from '@larr/native-cuda';
import type { BundleFeatures, RankerInputs, SceneEntries } from '../bundle/contents.js';
import { IdIndex } from '../store/id-index.js';

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
  readonly #entries: FieldTexts[];
  readonly #scorer: SceneScorer | null;
  readonly #table: Matrix;

  /**
   * @param tensors of scene.safetensors: `table` [entries, d], and the encoder's weights
   * @throws BundleError SCENE_INVALID where they do not fit together
   */
  constructor(
    fields: BundleFeatures['scene'],
    inputs: RankerInputs,
    entries: SceneEntries,
    tensors: Readonly<Record<string, Matrix>>,
  ) {
    const { table, ...weights } = tensors;
    const encoder = inputs.sceneEncoder;
    if (table === undefined || encoder === null || inputs.z_s === null) {
      throw new BundleError('SCENE_INVALID', 'the bundle has scene inputs but no scene table: export it again');
    }
    this.fields = fields.map(({ field }) => field);
    this.width = inputs.z_s;
    this.explainable = encoder.kind === 'encoder';
    this.#table = table;
    this.#entries = this.fields.map(() => new FieldTexts());
    const rows = table.shape[0]!;
    const fieldOf = new Int32Array(rows);
    for (const { field, entry, texts } of entries) {
      const index = this.fields.indexOf(field);
      if (index < 0 || entry + texts.length > rows) {
        throw new BundleError(
          'SCENE_INVALID',
          `scene.json: "${field}" (entries ${entry} to ${entry + texts.length}) is not in the table: export it again`,
        );
      }
      if (!this.#entries[index]!.add(texts, entry))
        throw new BundleError('SCENE_INVALID', `scene.json: "${field}" has a text twice: export it again`);
      fieldOf.fill(index, entry, entry + texts.length);
    }
    this.#scorer =
      encoder.kind === 'concat'
        ? null
        : new SceneScorer({
            table: table.data,
            fieldOf,
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
    return this.#entries[field]!.entryOf(text);
  }

  /** A text of a field, for examples; null where it has none. */
  someText(field: number): string | null {
    return this.#entries[field]?.first ?? null;
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

/** A field's texts and their entries: runs of texts whose entries follow each other. */
class FieldTexts {
  readonly #texts = new IdIndex();
  /** first text and first entry of each run */
  readonly #runs: { text: number; entry: number }[] = [];

  /** Adds texts with the entries `entry`, `entry` + 1, …; false where one is there already. */
  add(texts: readonly string[], entry: number): boolean {
    const before = this.#texts.size;
    if (texts.length > 0) this.#runs.push({ text: before, entry });
    for (const text of texts) this.#texts.add(text);
    return this.#texts.size === before + texts.length;
  }

  entryOf(text: string): number | null {
    const at = this.#texts.get(text);
    if (at < 0) return null;
    const run = this.#runs.findLast((one) => one.text <= at)!;
    return run.entry + at - run.text;
  }

  get first(): string | null {
    return this.#texts.size === 0 ? null : this.#texts.id(0);
  }
}
