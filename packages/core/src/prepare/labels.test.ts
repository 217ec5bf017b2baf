import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { DatasetSchemaInput } from '../schema/schema.js';
import { defineSchema } from '../schema/validate.js';
import { explainPreparation } from './explain.js';

async function check(answers: string[], more: Partial<DatasetSchemaInput>) {
  const folder = await mkdtemp(join(tmpdir(), 'larr-labels-'));
  const rows = Array.from(
    { length: 300 },
    (_, i) => `u${i % 9},p${i % 11},${1_771_724_279_683 + i},${answers[i % answers.length]}`,
  );
  await writeFile(join(folder, 'events.csv'), `user,poi,ts_ms,answer\n${rows.join('\n')}\n`);
  const schema = defineSchema({
    name: 'answers',
    tables: { events: 'events.csv' },
    labels: { click: 'answer' },
    splits: { random: { kind: 'random' } },
    ...more,
  });
  const report = await explainPreparation({ schema, baseDirectory: folder });
  return Object.values(report.splits[0]!.parts).reduce((sum, part) => sum + part.clicks, 0);
}

test('a label is 1 where the column says the positive value, in capitals or not, and 0 where it says anything else', async () => {
  const labels = { click: { column: 'answer', positive: 'ja' } };
  expect(await check(['nein', 'ja', 'Ja', 'vielleicht'], { labels })).toBe(150);
});

test('a label of words without a positive value is refused with what to write', async () => {
  await expect(check(['nein', 'ja'], {})).rejects.toMatchObject({
    code: 'BAD_VALUE',
    message: expect.stringMatching(
      /row 1, column "answer": "nein" is not a label.*\{"column": "answer", "positive": …\}/,
    ),
  });
});

test('a positive value that no row has, and a row without a value, are said', async () => {
  const labels = { click: { column: 'answer', positive: 'si' } };
  await expect(check(['nein', 'ja'], { labels })).rejects.toMatchObject({
    code: 'LABEL_ONE_CLASS',
    message: expect.stringContaining('"positive" is "si", and it says "ja", "nein"'),
  });
  await expect(check(['nein', 'si', ''], { labels })).rejects.toMatchObject({
    code: 'BAD_VALUE',
    message: expect.stringContaining('row 3, column "answer": '),
  });
});

test('a time that is too large in the unit that is given is told with the unit that it looks like', async () => {
  await expect(check(['0', '1'], { time: { column: 'ts_ms', unit: 's' } })).rejects.toMatchObject({
    code: 'BAD_VALUE',
    message: expect.stringMatching(/As seconds since 1970.*too large; it looks like milliseconds: "unit": "ms"/),
  });
});
