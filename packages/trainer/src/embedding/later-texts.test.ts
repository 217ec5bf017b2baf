import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Dataset } from '@larr/core';
import { afterAll, expect, test } from 'vitest';
import { laterTexts } from './later-texts.js';

const directory = mkdtempSync(join(tmpdir(), 'larr-later-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const dataset = {
  split: {
    scene: [
      { field: 'weather', token: 'scene_weather', texts: ['', 'sunny', 'rain'] },
      { field: 'city', token: 'scene_city', texts: ['', 'Leiden'] },
    ],
  },
} as unknown as Dataset;
const list = (name: string, content: string) => {
  const file = join(directory, name);
  writeFileSync(file, content);
  return file;
};

test('takes up what the list has and the data have not, once, behind what is there from before', async () => {
  writeFileSync(
    join(directory, 'later.json'),
    JSON.stringify([
      { field: 'weather', text: 'hail' },
      { field: 'weather', text: 'sunny' }, // the data have it by now
    ]),
  );
  const file = list(
    'unseen.jsonl',
    [
      '{"field":"city","text":"Mars"}',
      '',
      '{"field":"weather","text":"hail"}',
      '{"field":"city","text":"Mars"}',
      '',
    ].join('\n'),
  );
  expect(await laterTexts(directory, file, dataset)).toEqual([
    { field: 'weather', text: 'hail' },
    { field: 'city', text: 'Mars' },
  ]);
  expect(await laterTexts(directory, undefined, dataset)).toEqual([{ field: 'weather', text: 'hail' }]);
});

test('refuses what is not such a list, naming the line', async () => {
  const wrong: [string, string, object][] = [
    ['text.jsonl', '{"field":"city","text":"Mars"}\nMars', { code: 'BAD_TEXTS', row: 2 }],
    [
      'field.jsonl',
      '{"field":"wether","text":"hail"}',
      { code: 'UNKNOWN_FIELD', row: 1, message: expect.stringContaining('"weather"') },
    ],
  ];
  for (const [name, content, error] of wrong)
    await expect(laterTexts(directory, list(name, content), dataset)).rejects.toMatchObject(error);
  await expect(laterTexts(directory, join(directory, 'nowhere'), dataset)).rejects.toMatchObject({
    code: 'MISSING_FILE',
  });
});
