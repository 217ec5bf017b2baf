import { existsSync } from 'node:fs';
import { mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { importFrappe, openDataset, type Samples } from '../index.js';

const eventsHeader = 'user\titem\tcnt\tdaytime\tweekday\tisweekend\thomework\tcost\tweather\tcountry\tcity\n';
const metaHeader =
  'item\tpackage\tcategory\tdownloads\tdeveloper\ticon\tlanguage\tdescription\tname\tprice\trating\tshort desc\n';

/** Made-up files in the published format: 30 users, 40 apps. */
function published(): { events: string; meta: string } {
  let events = eventsHeader;
  for (let i = 0; i < 600; i++) {
    const weather = i % 3 === 0 ? 'unknown' : 'sunny';
    events += `${i % 30}\t${(i * 7 + (i % 30)) % 40}\t1\tmorning\tsunday\tweekend\t${i % 2 ? 'home' : 'unknown'}\tfree\t${weather}\tSpain\t${i % 5 ? 369 : 0}\n`;
  }
  let meta = metaHeader;
  for (let p = 0; p < 40; p++) {
    const description = p === 2 ? '"Says ""hi"",\tand\nmore"' : p === 3 ? 'unknown' : `Does thing ${p}`;
    meta += `${p}\tcom.x${p}\tTools\t1\tDev ${p}\thttp://x\ten\t${description}\tApp ${p}\tFree\t4.1\tshort\n`;
  }
  return { events, meta };
}

async function folder(events: string | Uint8Array, meta: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'larr-frappe-'));
  await writeFile(join(directory, 'frappe.csv'), events);
  await writeFile(join(directory, 'meta.csv'), meta);
  return directory;
}

async function checkProtocol(output: string, positives: number): Promise<Samples> {
  const dataset = await openDataset(output);
  const parts = await Promise.all((['train', 'validation', 'test'] as const).map((p) => dataset.loadPart(p)));
  const used = new Set<number>();
  const contexts = new Map<bigint, number[]>();
  const key = (s: Samples, i: number) => s.user[i]! * 1e6 + s.poi[i]!;
  let rows = 0;
  for (const s of parts) {
    rows += s.rows;
    for (let i = 0; i < s.rows; i++) if (s.click[i] === 1) used.add(key(s, i));
  }
  expect(rows).toBe(positives * 3);
  let clashes = 0;
  for (const s of parts) {
    for (let i = 0; i < s.rows; i++) {
      if (s.click[i] !== (s.rowId[i]! % 3n === 0n ? 1 : 0)) clashes++;
      if (s.click[i] === 0 && used.has(key(s, i))) clashes++;
      // Texts, unlike vocabularies, are the same in every part: they show that user and context are the positive's.
      const context = [
        s.user[i]!,
        ...Array.from({ length: dataset.split.scene.length }, (_, f) => s.scene[f * s.rows + i]!),
      ];
      const base = s.rowId[i]! / 3n;
      const known = contexts.get(base);
      if (known === undefined) contexts.set(base, context);
      else if (known.some((v, k) => v !== context[k])) clashes++;
    }
  }
  expect(clashes).toBe(0);
  return parts[0]!;
}

test('every row becomes one positive and two negatives of the same user and context with an app never used', async () => {
  const { events, meta } = published();
  const input = await folder(events, meta);
  const output = join(input, 'out');
  const manifest = await importFrappe({ input, output, seed: 1 });
  expect(manifest.splits.random!.categorical.map((f) => f.name)).toEqual([
    'user',
    'item',
    'daytime',
    'weekday',
    'isweekend',
    'homework',
    'cost',
    'weather',
    'country',
    'city',
  ]);
  await checkProtocol(output, 600);
  const dataset = await openDataset(output);
  // "unknown" and "0" are values of ID features and missing as texts.
  expect(await dataset.vocabulary('weather')).toContain('unknown');
  expect(await dataset.vocabulary('city')).toContain('0');
  const scene = Object.fromEntries(dataset.split.scene.map((f) => [f.field, f.texts]));
  expect(scene.weather).toEqual(['', 'sunny']);
  expect(scene.city).toEqual(['', 'city 369']);
  // A negative's item is the app drawn for it, not its event's: each code belongs to one app.
  const { categorical, poi, rows } = await dataset.loadPart('train');
  const items = categorical.subarray(rows, 2 * rows);
  const appOf = new Map<number, number>();
  for (let row = 0; row < rows; row++) {
    if (!appOf.has(items[row]!)) appOf.set(items[row]!, poi[row]!);
    expect(appOf.get(items[row]!)).toBe(poi[row]);
  }
  const texts = await dataset.poiTexts();
  expect(texts[2]!.find((k) => k.keyword === 'description')!.text).toBe('Says "hi", and more');
  expect(texts[3]!.map((k) => k.keyword)).not.toContain('description');
  expect(manifest.orders).toBe(false);
});

test('files that are not as published are refused with file, line and column', async () => {
  const { events, meta } = published();
  const failure = async (e: string | Uint8Array, m: string) => {
    const input = await folder(e, m);
    const error = await importFrappe({ input, output: join(input, 'out') }).then(
      () => undefined,
      (x) => x,
    );
    expect((await readdir(input)).sort()).toEqual(['frappe.csv', 'meta.csv']);
    return error;
  };
  expect(await failure(events.replaceAll('\t', ','), meta)).toMatchObject({ code: 'BAD_HEADER', row: 1 });
  expect(
    await failure(
      events.replace(/(\n[^\n]*){5}/, (head) => head.replace(/\t369$/, '')),
      meta,
    ),
  ).toMatchObject({
    code: 'SHORT_ROW',
    row: 6,
    field: 'city',
    message: expect.stringContaining('line 6: 10 columns instead of 11'),
  });
  const wrong = Buffer.from(events.replace('Spain', 'Espa\xf1a'), 'latin1');
  expect(await failure(wrong, meta)).toMatchObject({
    code: 'BAD_ENCODING',
    row: 2,
    message: expect.stringContaining('frappe.csv, line 2, column 10: not valid UTF-8'),
  });
  expect(await failure(events, meta.replace('"Says ""hi"",\tand\nmore"', '"Says'))).toMatchObject({
    code: 'BAD_QUOTE',
    row: 4,
  });
});

const real = fileURLToPath(new URL('../../../../../shared/data/frappe', import.meta.url));
test.skipIf(!existsSync(real))(
  'the published files give 288,609 rows under the public protocol (skipped where they are absent)',
  async () => {
    const output = join(await mkdtemp(join(tmpdir(), 'larr-frappe-')), 'out');
    const manifest = await importFrappe({ input: real, output, seed: 1 });
    expect(manifest.pois).toBe(4082);
    expect(manifest.users).toBe(957);
    const { train, validation, test: hidden } = manifest.splits.random!.parts;
    expect(train.rows + validation.rows + hidden.rows).toBe(288_609);
    expect(train.rows / 288_609).toBeCloseTo(0.7, 2);
    expect(hidden.rows / 288_609).toBeCloseTo(0.1, 2);
    await checkProtocol(output, 96_203);
  },
);
