import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { defineSchema } from '../schema/validate.js';
import { explainPreparation } from './explain.js';

test('a text that takes all the memory is told with its table, row and column, and what to do', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'larr-memory-'));
  const rows = Array.from({ length: 400 }, (_, i) => `u${i % 2},p${i % 11},${i % 3 === 0 ? 1 : 0}`);
  await writeFile(join(folder, 'events.csv'), `user,poi,click\n${rows.join('\n')}\n`);
  await writeFile(
    join(folder, 'users.jsonl'),
    `{"user":"u0","motto":"short"}\n{"user":"u1","motto":"${'long '.repeat(400_000)}"}\n`,
  );
  const schema = defineSchema({
    name: 'memory',
    tables: { events: 'events.csv', users: 'users.jsonl' },
    labels: { click: 'click' },
    features: { categorical: [{ name: 'motto', value: 'users.motto' }] },
  });
  await expect(
    explainPreparation({ schema, baseDirectory: folder, memoryLimit: '200MB', threads: 2 }),
  ).rejects.toMatchObject({
    code: 'OUT_OF_MEMORY',
    message: expect.stringMatching(
      /200MB\. The longest text is tables\.users, row 2, column "motto": 2,000,000 char.*--memory/,
    ),
  });
});
