import { BundleError } from '../errors.js';

const EMPTY = -1;

/** The arrays of an index: ids' bytes one after another, their ends, their hashes, and the hash table of rows. */
export interface IdTensors {
  bytes: Uint8Array;
  ends: Uint32Array;
  hashes: Uint32Array;
  slots: Int32Array;
}

/**
 * Ids to rows 0, 1, 2, … in the order they were added, without a JavaScript object for each: the ids' bytes one after another, and a hash
 * table of rows. A million ids of ten characters take 35 MB, and a look-up allocates nothing.
 */
export class IdIndex {
  #bytes: Uint8Array = new Uint8Array(1 << 12);
  /** where each id ends; it begins where the one before ends */
  #ends: Uint32Array = new Uint32Array(1 << 8);
  #slots: Int32Array = new Int32Array(1 << 9).fill(EMPTY);
  /** of each id, so that a larger table needs no id's bytes, and others than the one that is looked for are told apart at once */
  #hashes: Uint32Array = new Uint32Array(1 << 8);
  #count = 0;
  /** its arrays belong to a file */
  #fixed = false;
  /** an id's bytes while it is looked for */
  #scratch = new Uint8Array(1 << 11);

  /**
   * An index as `tensors` gave it, over their memory; nothing can be added to it.
   * @throws BundleError TENSORS_UNREADABLE where they are not those of an index
   */
  static from({ bytes, ends, hashes, slots }: IdTensors): IdIndex {
    const count = ends?.length ?? 0;
    const sound =
      bytes instanceof Uint8Array &&
      ends instanceof Uint32Array &&
      hashes instanceof Uint32Array &&
      slots instanceof Int32Array &&
      hashes.length === count &&
      // a power of two, each row once and something empty, where every search ends
      (slots.length & (slots.length - 1)) === 0 &&
      slots.length > count &&
      slots.reduce((rows, row) => rows + Number(row !== EMPTY), 0) === count &&
      ends.every((end, row) => end <= bytes.length && (row === 0 || end >= ends[row - 1]!)) &&
      slots.every((row) => row >= EMPTY && row < count);
    if (!sound) throw new BundleError('TENSORS_UNREADABLE', 'an index of ids is damaged: export the bundle again');
    const index = new IdIndex();
    index.#bytes = bytes;
    index.#ends = ends;
    index.#hashes = hashes;
    index.#slots = slots;
    index.#count = count;
    index.#fixed = true;
    return index;
  }

  /** What it consists of, to be written and read back with {@link from}. */
  tensors(): IdTensors {
    const length = this.#start(this.#count);
    return {
      bytes: this.#bytes.slice(0, length),
      ends: this.#ends.slice(0, this.#count),
      hashes: this.#hashes.slice(0, this.#count),
      slots: this.#slots,
    };
  }

  get size(): number {
    return this.#count;
  }

  /** Row of an id; −1 for an unknown one. */
  get(id: string): number {
    const length = this.#encode(id);
    return this.#slots[this.#find(length, hash(this.#scratch, length))]!;
  }

  /** Row of an id, which is added where it is new. */
  add(id: string): number {
    if (this.#fixed) throw new BundleError('INDEX_FIXED', 'an index that was read from a file takes no more ids');
    const length = this.#encode(id);
    const hashed = hash(this.#scratch, length);
    const slot = this.#find(length, hashed);
    if (this.#slots[slot] !== EMPTY) return this.#slots[slot]!;
    const row = this.#count++;
    const start = this.#start(row);
    this.#reserve(start + length);
    this.#bytes.set(this.#scratch.subarray(0, length), start);
    this.#ends[row] = start + length;
    this.#hashes[row] = hashed;
    this.#slots[slot] = row;
    // at most half full
    if (2 * this.#count > this.#slots.length) this.#rehash();
    return row;
  }

  id(row: number): string {
    const bytes = this.#bytes.subarray(this.#start(row), this.#ends[row]!);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  }

  /** Memory that it takes, bytes. */
  get bytes(): number {
    return this.#bytes.byteLength + this.#ends.byteLength + this.#hashes.byteLength + this.#slots.byteLength;
  }

  #start(row: number): number {
    return row === 0 ? 0 : this.#ends[row - 1]!;
  }

  /** UTF-8 of an id in the scratch; most ids are ASCII, for which a loop is quicker than a call. */
  #encode(id: string): number {
    const { length } = id;
    if (3 * length > this.#scratch.length) this.#scratch = new Uint8Array(6 * length);
    const scratch = this.#scratch;
    for (let i = 0; i < length; i++) {
      const code = id.charCodeAt(i);
      if (code > 0x7f) return encoder.encodeInto(id, scratch).written;
      scratch[i] = code;
    }
    return length;
  }

  /** The slot of the id in the scratch, or the empty one where it would go. */
  #find(length: number, hashed: number): number {
    const scratch = this.#scratch;
    const mask = this.#slots.length - 1;
    let slot = hashed & mask;
    for (;;) {
      const row = this.#slots[slot]!;
      if (row === EMPTY) return slot;
      const start = this.#start(row);
      if (this.#hashes[row] === hashed && this.#ends[row]! - start === length) {
        let same = true;
        for (let i = 0; i < length && same; i++) same = this.#bytes[start + i] === scratch[i];
        if (same) return slot;
      }
      slot = (slot + 1) & mask;
    }
  }

  #reserve(bytes: number): void {
    if (bytes > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(bytes, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    if (this.#count > this.#ends.length) {
      const ends = new Uint32Array(2 * this.#ends.length);
      ends.set(this.#ends);
      this.#ends = ends;
      const hashes = new Uint32Array(2 * this.#hashes.length);
      hashes.set(this.#hashes);
      this.#hashes = hashes;
    }
  }

  #rehash(): void {
    const slots = new Int32Array(4 * this.#slots.length).fill(EMPTY);
    const mask = slots.length - 1;
    for (let row = 0; row < this.#count; row++) {
      let slot = this.#hashes[row]! & mask;
      while (slots[slot] !== EMPTY) slot = (slot + 1) & mask;
      slots[slot] = row;
    }
    this.#slots = slots;
  }
}

const encoder = new TextEncoder();

/** FNV-1a of bytes, its high bits stirred into the low ones that choose a slot. */
function hash(bytes: Uint8Array, length: number): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < length; i++) h = Math.imul(h ^ bytes[i]!, 0x01000193);
  return (h ^ (h >>> 15)) >>> 0;
}
