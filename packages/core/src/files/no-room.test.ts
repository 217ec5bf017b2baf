import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DataError } from '../errors.js';
import { buildDirectoryAtomic } from './atomic.js';
import { noRoom } from './no-room.js';

test('a file system that takes no more is told from what a file of the user says', () => {
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  expect(noRoom(full)).toBe('the disk is full');
  expect(noRoom(new Error('IO Error: Could not write file "a.wal": No space left on device'))).toBe('the disk is full');
  expect(noRoom(new Error('Could not write file "a.wal": File too large'))).toMatch(/ulimit -f/);
  expect(noRoom(new DataError('BAD_VALUE', '"No space left on device" is not a number'))).toBeNull();
  expect(noRoom(new Error('Conversion Error: x is no number'))).toBeNull();
});

test('an output directory that there is no room for is named as it was asked for, and what stood there stays', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'larr-room-'));
  const cause = new Error(
    `Failed to commit: Could not write file "${folder}/.out.building-1/x.wal": No space left on device`,
  );
  const out = join(folder, 'out');
  const error = await buildDirectoryAtomic(out, () => Promise.reject(cause)).catch((thrown) => thrown);
  expect(error).toMatchObject({ code: 'SYSTEM', file: out, cause });
  expect(error.message).toMatch(/^the disk is full: \S+\/out cannot be written\. Make room .* what was there before/);
  expect(await readdir(folder)).toEqual([]);
});

// What a preparation writes first is its own database, while it reads the tables.
test.skipIf(process.platform !== 'linux' || !existsSync(new URL('../../dist/index.js', import.meta.url)))(
  'a preparation that may write no more blames its output, not a table that it reads',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'larr-room-'));
    let events = 'user,poi,click,words\n';
    for (let i = 0; i < 3000; i++)
      events += `u${i % 30},p${i % 20},${(i * i) % 7 === 2 ? 1 : 0},${Math.sin(i)}${Math.cos(i)}\n`;
    await writeFile(join(folder, 'events.csv'), events);
    const program = `
      import { defineSchema, prepare } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
      process.on('SIGXFSZ', () => {});
      const schema = defineSchema({ name: 'x', tables: { events: 'events.csv' }, labels: { click: 'click' },
        features: { categorical: [{ name: 'words', value: 'events.words' }] } });
      const error = await prepare('out', { schema, threads: 1 }).catch((error) => error);
      console.log(JSON.stringify({ code: error.code, message: error.message }));`;
    const said = execFileSync(
      'bash',
      ['-c', 'ulimit -f 60; exec "$0" --input-type=module -e "$1"', process.execPath, program],
      {
        cwd: folder,
        encoding: 'utf8',
      },
    );
    expect(JSON.parse(said)).toEqual({
      code: 'SYSTEM',
      message: expect.stringMatching(/^a file is larger than .*: out cannot be written\./),
    });
    expect(await readdir(folder)).toEqual(['events.csv']);
  },
);
