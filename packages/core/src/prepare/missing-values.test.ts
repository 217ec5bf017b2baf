import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openDataset } from '../dataset/open.js';
import { defineSchema } from '../schema/validate.js';
import { prepare } from './prepare.js';

test.each(['none', 'log1p'] as const)(
  'a missing number is the mean, not zero, under the transform %s',
  async (transform) => {
    const folder = await mkdtemp(join(tmpdir(), 'larr-missing-'));
    const rows = Array.from(
      { length: 400 },
      (_, i) => `u${i % 9},p${i % 11},${i % 3 === 0 ? 1 : 0},${i % 4 === 0 ? '' : 50}`,
    );
    await writeFile(join(folder, 'events.csv'), `user,poi,click,price\n${rows.join('\n')}\n`);
    const schema = defineSchema({
      name: 'prices',
      tables: { events: 'events.csv' },
      labels: { click: 'click' },
      features: { dense: [{ name: 'price', value: 'events.price', transform }] },
    });
    await prepare(join(folder, 'data'), { schema, baseDirectory: folder });
    const { dense, rows: count } = await (await openDataset(join(folder, 'data'))).loadPart('train');
    const known = transform === 'log1p' ? Math.log(51) : 50;
    expect(count).toBeGreaterThan(200);
    for (const value of dense) expect(value).toBeCloseTo(known, 4);
  },
);
