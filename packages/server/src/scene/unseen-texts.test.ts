import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { UnseenTexts } from './unseen-texts.js';

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'larr-unseen-'));
  file = join(directory, 'unseen.jsonl');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const lines = () =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));

it('writes each text of a field once, across restarts, and by itself within about a second', async () => {
  const first = await UnseenTexts.open(file);
  first.add([
    { field: 'weather', text: 'raining frogs' },
    { field: 'weather', text: 'raining frogs' },
    { field: 'city', text: 'raining frogs' },
  ]);
  await vi.waitFor(() => expect(lines()).toHaveLength(2), 5000);
  await first.close();
  const again = await UnseenTexts.open(file);
  again.add([
    { field: 'city', text: 'raining frogs' },
    { field: 'city', text: '火星\n"Mars"' },
  ]);
  await again.close();
  expect(lines()).toEqual([
    { field: 'weather', text: 'raining frogs' },
    { field: 'city', text: 'raining frogs' },
    { field: 'city', text: '火星\n"Mars"' },
  ]);
});

it('goes on behind a line that a crash cut short, and refuses a file that is something else', async () => {
  writeFileSync(file, '{"field":"city","text":"Mars"}\n{"field":"ci');
  const list = await UnseenTexts.open(file);
  expect(list.texts).toEqual([{ field: 'city', text: 'Mars' }]);
  list.add([{ field: 'city', text: 'Venus' }]);
  await list.close();
  expect(lines()).toEqual([
    { field: 'city', text: 'Mars' },
    { field: 'city', text: 'Venus' },
  ]);
  appendFileSync(file, 'hello\n');
  await expect(UnseenTexts.open(file)).rejects.toMatchObject({ code: 'UNSEEN_UNREADABLE', row: 3 });
});

it('stops growing where every request has a new text', async () => {
  const list = await UnseenTexts.open(file);
  list.add(Array.from({ length: 100_500 }, (_, i) => ({ field: 'minute', text: String(i) })));
  expect(list.texts).toHaveLength(100_000);
  await list.close();
});
