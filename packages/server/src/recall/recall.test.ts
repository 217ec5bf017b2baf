import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bundle, DuckdbSession, encodeSafetensors } from '@larr/core';
import { mapFile } from '@larr/native-cuda';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { HeldFiles } from '../bundle/held-files.js';
import { PoiTable } from '../ranking/poi-table.js';
import { Recall, type RecallQuery } from './recall.js';

/** similarities = vectors [pois, 2] · query [2, 1], as `larr export` writes it */
const SEARCH =
  'CAgSBGxhcnI6mQIKLAoHdmVjdG9ycwoFcXVlcnkSCE1hdE11bF8wGghNYXRNdWxfMCIGTWF0TXVsCjUKCE1hdE11bF8wCgppbnRlZ2Vyc18xEglTcXVlZXplXzIaCVNxdWVlemVfMiIHU3F1ZWV6ZQoxCglTcXVlZXplXzISDHNpbWlsYXJpdGllcxoMc2ltaWxhcml0aWVzIghJZGVudGl0eRILbGFyci1yZWNhbGwqGggBEAdCCmludGVnZXJzXzFKCAEAAAAAAAAAWh0KB3ZlY3RvcnMSEgoQCAESDAoGEgRwb2lzCgIIAloXCgVxdWVyeRIOCgwIARIICgIIAgoCCAFiHgoMc2ltaWxhcml0aWVzEg4KDAgBEggKBhIEcG9pc0IECgAQEQ==';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'larr-recall-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const table = new PoiTable({
  wanted: { ids: 0, dense: 0, numbers: 0, texts: 0 },
  encode: () => {},
  number: () => 0,
  text: () => null,
});
table.put(['p0', 'p1', 'p2'].map((poi, poi_index) => ({ poi, poi_index })));

/** A bundle's part for recall: three POIs east, north and north-east, and a term for the first two; one that most have, and one that all have. */
async function bundleIn(directory: string): Promise<Bundle> {
  mkdirSync(join(directory, 'recall'), { recursive: true });
  mkdirSync(join(directory, 'store'));
  const path = (file: string): string => join(directory, file);
  writeFileSync(path('recall/search.onnx'), Buffer.from(SEARCH, 'base64'));
  const pois = { data: Float32Array.of(1, 0, 0, 1, 0.8, 0.6), shape: [3, 2] as const };
  writeFileSync(path('recall/pois.safetensors'), encodeSafetensors({ vectors: pois }));
  const terms = { data: Float32Array.of(1, 0, 0, 1, 0, 1, 0, 0), shape: [4, 2] as const };
  const scene = { data: new Float32Array(0), shape: [0, 2] as const };
  writeFileSync(path('recall/terms.safetensors'), encodeSafetensors({ terms, scene }));
  using db = await DuckdbSession.open();
  await db.run(
    `COPY (SELECT i AS poi_index, 'p' || i AS poi, 'city' || i % 2 AS city FROM range(3) t(i)) TO '${path('store/pois.parquet')}'`,
  );
  return {
    directory,
    manifest: { files: { 'recall/terms.json': {} } },
    path,
    json: async () => ({
      poi: [{ field: 'text', terms: ['east', 'north'] }],
      common: [{ field: 'text', terms: ['upper', 'the'] }],
      scene: [],
    }),
  } as unknown as Bundle;
}

it.runIf(process.platform === 'linux')('answers the first question although its bundle is gone by then', async () => {
  const directory = join(root, 'bundle');
  const held = new HeldFiles();
  const recall = (await Recall.open(await bundleIn(directory), held, mapFile, 1, async (last) => ({
    last,
    rows: [],
  })))!;
  rmSync(directory, { recursive: true });
  try {
    const found = await recall.nearest({ text: 'east' }, 3, table, {});
    expect(found.rows).toEqual([0, 2]);
    expect((await recall.nearest({ text: 'north' }, 3, table, { city: 'city0' })).rows).toEqual([2]);
  } finally {
    await recall.close();
    await held.close();
  }
});

it('looks for what too many POIs have where nothing else is known, and says so', async () => {
  const held = new HeldFiles();
  const recall = (await Recall.open(await bundleIn(join(root, 'common')), held, mapFile, 1, async (last) => ({
    last,
    rows: [],
  })))!;
  const asked = (text: string) => recall.nearest({ text }, 2, table, {});
  try {
    expect(await asked('upper east xyzzy')).toMatchObject({
      rows: [0, 2],
      matched: [{ text: 'east' }],
      common: ['upper'],
      unmatched: ['xyzzy'],
    });
    expect(await asked('the upper')).toMatchObject({
      rows: [1, 2],
      matched: [{ text: 'the' }, { text: 'upper' }],
      common: ['the', 'upper'],
      unmatched: [],
    });
    await expect(asked('the xyzzy')).rejects.toMatchObject({
      code: 'RECALL_EMPTY',
      message: expect.stringContaining('nothing is known of: xyzzy; nearly all POIs have: the'),
    });
  } finally {
    await recall.close();
    await held.close();
  }
});

it('says of a user alone what is missing, and goes by the rest of the question where there is one', async () => {
  const held = new HeldFiles();
  const recall = (await Recall.open(await bundleIn(join(root, 'user')), held, mapFile, 1, async (last) => ({
    last,
    rows: [],
  })))!;
  const lacking = { user: 'user "u1" has no history: their sequences are empty' };
  const asked = (query: RecallQuery) => recall.nearest(query, 2, table, {});
  try {
    await expect(asked({ lacking })).rejects.toMatchObject({
      status: 400,
      code: 'USER_WITHOUT_HISTORY',
      field: 'user',
      message: expect.stringMatching(/"u1" has no history.*give a text or a scene/),
    });
    // what the user chose may be all that is known: it can be asked again
    for (const text of [undefined, 'xyzzy'])
      await expect(asked({ lacking: 'store', text })).rejects.toMatchObject({ status: 503, code: 'STORE_AWAY' });
    await expect(asked({ lacking, text: 'xyzzy' })).rejects.toMatchObject({
      code: 'RECALL_EMPTY',
      message: expect.stringMatching(/nothing is known of: xyzzy; user "u1" has no history/),
    });
    expect((await asked({ lacking, text: 'east' })).rows).toEqual([0, 2]);
    await expect(asked({})).rejects.toMatchObject({ code: 'RECALL_EMPTY' });
  } finally {
    await recall.close();
    await held.close();
  }
});
