import { open } from 'node:fs/promises';
import { BundleError } from '@larr/core';

/** Where a tensor lies in a safetensors file. */
export interface TensorPlace {
  dtype: string;
  shape: number[];
  /** from the beginning of the file */
  byteOffset: number;
}

/**
 * The header of a safetensors file, for tables that are mapped into memory instead of read.
 * @throws BundleError TENSORS_UNREADABLE
 */
export async function tensorPlaces(file: string): Promise<Record<string, TensorPlace>> {
  const handle = await open(file);
  try {
    const head = new Uint8Array(8);
    await handle.read(head, 0, 8, 0);
    const length = Number(new DataView(head.buffer).getBigUint64(0, true));
    const json = new Uint8Array(length);
    await handle.read(json, 0, length, 8);
    const header = JSON.parse(new TextDecoder().decode(json)) as Record<
      string,
      { dtype: string; shape: number[]; data_offsets: [number, number] }
    >;
    return Object.fromEntries(
      Object.entries(header).flatMap(([name, entry]) =>
        name === '__metadata__'
          ? []
          : [[name, { dtype: entry.dtype, shape: entry.shape, byteOffset: 8 + length + entry.data_offsets[0] }]],
      ),
    );
  } catch (cause) {
    throw new BundleError('TENSORS_UNREADABLE', `${file} is not a safetensors file: export the bundle again`, {
      cause,
    });
  } finally {
    await handle.close();
  }
}
