import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDataset, writeSafetensors } from '@larr/core';
import { setNumThreads } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeToyDataset } from '../../test/toy-dataset.js';
import { draws } from '../language-model/draws.js';
import { openNearestIndex, shareFound } from './nearest-index.js';
import { allowedPois, loadPoiIndex, nearest, type PoiIndex } from './recall.js';

let root: string;
beforeAll(() => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-recall-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** POIs in clusters, as vectors of menus are; every tenth has no text. */
function clustered(pois: number, dimension = 32): PoiIndex {
  const next = draws(9, 'clusters');
  const normal = () => next() + next() + next() - 1.5;
  const centres = Array.from({ length: 40 }, () => Array.from({ length: dimension }, normal));
  const vectors = new Float32Array(pois * dimension);
  for (let poi = 0; poi < pois; poi++) {
    if (poi % 10 === 0) continue;
    const centre = centres[poi % 40]!;
    for (let i = 0; i < dimension; i++) vectors[poi * dimension + i] = centre[i]! + 0.7 * normal();
  }
  return { vectors, pois, dimension };
}

async function stored(name: string, index: PoiIndex): Promise<string> {
  const directory = join(root, name);
  await writeSafetensors(join(directory, 'pois.safetensors'), {
    embeddings: { dtype: 'F32', shape: [index.pois, index.dimension], data: index.vectors },
  });
  return directory;
}

const settings = { seed: 1, threads: 1 };

describe.each(['cosine', 'dot', 'distance'] as const)('an HNSW index by %s', (similarity) => {
  it('finds nearly what exact search finds, says how nearly, and nothing without a text', async () => {
    const index = clustered(3000);
    const directory = await stored(`hnsw-${similarity}`, index);
    const graph = await openNearestIndex(directory, index, similarity, settings);
    expect(graph.recallAt10).toBeGreaterThan(0.9);
    const query = index.vectors.slice(7 * index.dimension, 8 * index.dimension);
    const found = graph.search(query, 10);
    const exact = nearest(query, index, 10, similarity);
    expect(found[0]!.poi).toBe(exact[0]!.poi);
    expect(found[0]!.similarity).toBeCloseTo(exact[0]!.similarity, 3);
    expect(found.every(({ poi }) => poi % 10 !== 0)).toBe(true);
    expect(graph.search(query, 5000)).toHaveLength(2700);
  });
});

it('vectors with a number that is none are not searched', async () => {
  const index = clustered(20);
  index.vectors[5 * index.dimension + 3] = Number.NaN;
  await expect(loadPoiIndex(await stored('lost', index))).rejects.toMatchObject({
    code: 'BAD_VECTORS',
    message: expect.stringMatching(/POI number 5 holds NaN/),
  });
});

describe('an HNSW index', () => {
  it('is not praised for finding the POIs that it is asked with', () => {
    const index = clustered(300);
    const present = Int32Array.from({ length: 300 }, (_, poi) => poi).filter((poi) => poi % 10 !== 0);
    const share = (found: number) =>
      shareFound({ search: (vector) => nearest(vector, index, found, 'cosine') }, index, present, 'cosine', 1);
    expect(share(1)).toBe(0);
    expect(share(6)).toBeCloseTo(0.5, 10);
    expect(share(11)).toBe(1);
  });

  it('is kept beside the vectors, and built anew for others', async () => {
    const index = clustered(1000);
    const directory = await stored('kept', index);
    await openNearestIndex(directory, index, 'cosine', settings);
    const made = statSync(join(directory, 'pois.usearch')).mtimeMs;
    const query = index.vectors.slice(33 * 32, 34 * 32);
    const again = await openNearestIndex(directory, index, 'cosine', settings);
    expect(statSync(join(directory, 'pois.usearch')).mtimeMs).toBe(made);
    expect(again.search(query, 3)[0]!.poi).toBe(33);
    const other = { ...index, vectors: index.vectors.map((x, i) => (i % 32 === 0 ? -x : x)) };
    await stored('kept', other);
    const built = await openNearestIndex(directory, other, 'cosine', settings);
    expect(statSync(join(directory, 'pois.usearch')).mtimeMs).toBeGreaterThan(made);
    expect(built.search(other.vectors.slice(33 * 32, 34 * 32), 3)[0]!.similarity).toBeCloseTo(1, 4);
    // A description that is damaged counts as none.
    writeFileSync(join(directory, 'pois.usearch.json'), '{"format"');
    expect((await openNearestIndex(directory, other, 'cosine', settings)).recallAt10).toBeGreaterThan(0.9);
    expect(JSON.parse(readFileSync(join(directory, 'pois.usearch.json'), 'utf8')).pois).toBe(900);
  });
});

describe('a filter', () => {
  let dataset: string;
  beforeAll(async () => {
    dataset = join(root, 'data');
    await makeToyDataset(dataset, { placed: true });
  });

  it('lets through POIs of a place and of keywords that hold a text, and exact search finds the nearest of those', async () => {
    const opened = await openDataset(dataset);
    const texts = await opened.poiTexts();
    const places = (await opened.poiPlaces())!;
    const allowed = (await allowedPois(opened, {
      place: 'Northport',
      keywords: { menu: 'SUSHI', location: 'street' },
    }))!;
    const menu = (poi: number) => texts[poi]!.find(({ keyword }) => keyword === 'menu')!.text;
    const kept = [...allowed.keys()].filter((poi) => allowed[poi]);
    expect(kept).toEqual([...texts.keys()].filter((poi) => places[poi] === 'Northport' && menu(poi).includes('sushi')));
    expect(kept.length).toBeGreaterThan(0);
    const index = clustered(opened.manifest.pois);
    const query = index.vectors.slice(5 * 32, 6 * 32);
    const all = nearest(query, index, opened.manifest.pois, 'cosine').filter(({ poi }) => allowed[poi]);
    expect(nearest(query, index, 4, 'cosine', allowed).map(({ poi }) => poi)).toEqual(
      all.slice(0, 4).map(({ poi }) => poi),
    );
    expect(nearest(query, index, 4, 'cosine', new Uint8Array(opened.manifest.pois))).toEqual([]);
    expect(await allowedPois(opened, {})).toBeNull();
  });

  it('that names what is not there is told what is', async () => {
    const opened = await openDataset(dataset);
    await expect(allowedPois(opened, { place: 'Nowhere' })).rejects.toMatchObject({
      code: 'UNKNOWN_PLACE',
      message: expect.stringContaining('Northport, Southfield'),
    });
    await expect(allowedPois(opened, { keywords: { price: 'x' } })).rejects.toMatchObject({
      code: 'UNKNOWN_KEYWORD',
      message: expect.stringContaining('name, location, menu, introduction'),
    });
    await makeToyDataset(join(root, 'placeless'));
    await expect(allowedPois(await openDataset(join(root, 'placeless')), { place: 'Northport' })).rejects.toMatchObject(
      {
        code: 'NO_PLACES',
      },
    );
  });
});
