import { BundleError } from '../errors.js';
import { IdIndex } from './id-index.js';

/** Texts of a field whose entries in the scene table follow each other from `entry` on. */
export interface SceneEntries {
  field: string;
  entry: number;
  texts: readonly string[];
}

/** The arrays of {@link SceneTexts}, as a bundle keeps them. */
export type SceneTextTensors = Record<'bytes' | 'ends' | 'hashes' | 'slots' | 'entries' | 'field_of', unknown>;

/**
 * Which entry of the scene table each text of each field has. Written with the bundle, so that a server looks texts up in the file's own pages; at its start it
 * only checks that the arrays fit together.
 */
export class SceneTexts {
  readonly #fields: readonly string[];
  readonly #index: IdIndex;
  /** [texts]: entry of each row of the index */
  readonly #entries: Int32Array;
  /** [entries of the table]: the field of each */
  readonly fieldOf: Int32Array;

  private constructor(fields: readonly string[], index: IdIndex, entries: Int32Array, fieldOf: Int32Array) {
    this.#fields = fields;
    this.#index = index;
    this.#entries = entries;
    this.fieldOf = fieldOf;
  }

  /**
   * @param fields names, by their number
   * @param rows entries of the table; those without a text are of field 0
   * @throws BundleError SCENE_INVALID for a field that is none of them, entries beyond the table and a text that stands twice
   */
  static of(fields: readonly string[], given: readonly SceneEntries[], rows: number): SceneTexts {
    const index = new IdIndex();
    const entries = new Int32Array(given.reduce((sum, { texts }) => sum + texts.length, 0));
    const fieldOf = new Int32Array(rows);
    for (const { field, entry, texts } of given) {
      const number = fields.indexOf(field);
      if (number < 0 || entry + texts.length > rows)
        throw new BundleError(
          'SCENE_INVALID',
          `scene texts of "${field}" (entries ${entry} to ${entry + texts.length}) are not in the table: export the bundle again`,
        );
      fieldOf.fill(number, entry, entry + texts.length);
      texts.forEach((text, i) => {
        const before = index.size;
        const row = index.add(keyOf(field, text));
        if (index.size === before)
          throw new BundleError('SCENE_INVALID', `scene field "${field}" has a text twice: export the bundle again`);
        entries[row] = entry + i;
      });
    }
    return new SceneTexts(fields, index, entries, fieldOf);
  }

  /** As {@link tensors} gave it. @throws BundleError SCENE_INVALID, TENSORS_UNREADABLE */
  static from(fields: readonly string[], tensors: SceneTextTensors, rows: number): SceneTexts {
    const { entries, field_of: fieldOf, ...index } = tensors;
    const sound =
      entries instanceof Int32Array &&
      fieldOf instanceof Int32Array &&
      fieldOf.length === rows &&
      entries.every((entry) => entry >= 0 && entry < rows) &&
      fieldOf.every((field) => field >= 0 && field < fields.length);
    const texts = IdIndex.from(index as Parameters<typeof IdIndex.from>[0]);
    if (!sound || texts.size !== entries.length)
      throw new BundleError(
        'SCENE_INVALID',
        'the index of scene texts is not that of the scene table: export the bundle again',
      );
    return new SceneTexts(fields, texts, entries, fieldOf);
  }

  tensors(): Record<keyof SceneTextTensors, { shape: [number]; data: Uint8Array | Uint32Array | Int32Array }> {
    const vector = <T extends Uint8Array | Uint32Array | Int32Array>(data: T) => ({
      shape: [data.length] as [number],
      data,
    });
    const { bytes, ends, hashes, slots } = this.#index.tensors();
    return {
      bytes: vector(bytes),
      ends: vector(ends),
      hashes: vector(hashes),
      slots: vector(slots),
      entries: vector(this.#entries),
      field_of: vector(this.fieldOf),
    };
  }

  /** Entry of a text of the field with that number; null where it has none. */
  entryOf(field: number, text: string): number | null {
    const row = this.#index.get(keyOf(this.#fields[field]!, text));
    return row < 0 ? null : this.#entries[row]!;
  }

  /** A text of a field, for examples; null where it has none. */
  someText(field: number): string | null {
    const begin = keyOf(this.#fields[field]!, '');
    for (let row = 0; row < this.#index.size; row++) {
      if (this.fieldOf[this.#entries[row]!] === field) return this.#index.id(row).slice(begin.length);
    }
    return null;
  }
}

/** Names of fields have no line breaks. */
const keyOf = (field: string, text: string): string => `${field}\n${text}`;
