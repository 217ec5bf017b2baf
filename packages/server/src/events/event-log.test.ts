import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EventLog } from './event-log.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'larr-events-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const lines = (): { id: string }[] =>
  readdirSync(directory)
    .sort()
    .flatMap((name) => readFileSync(join(directory, name), 'utf8').split('\n').filter(Boolean))
    .map((line) => JSON.parse(line));

describe('the event log', () => {
  it('has every acknowledged event on disk, each once, whatever was sent again or together', async () => {
    const log = await EventLog.open(directory);
    const replies = await Promise.all(
      Array.from({ length: 200 }, (_, i) => log.append([{ id: `a${i % 150}`, n: i }, { id: `b${i}` }])),
    );
    expect(lines()).toHaveLength(350); // before close: acknowledged means written
    expect(replies.reduce((sum, { accepted }) => sum + accepted, 0)).toBe(350);
    expect(replies.reduce((sum, { duplicates }) => sum + duplicates, 0)).toBe(50);
    await log.close();
    const again = await EventLog.open(directory);
    expect(await again.append([{ id: 'a3' }, { id: 'new' }])).toEqual({ accepted: 1, duplicates: 1 });
    await again.close();
    expect(new Set(lines().map(({ id }) => id)).size).toBe(351);
  });

  it('removes a line that a crash cut short, and keeps all before it', async () => {
    const log = await EventLog.open(directory);
    await log.append([{ id: 'whole' }]);
    await log.close();
    appendFileSync(join(directory, readdirSync(directory)[0]!), '{"id":"torn","us');
    const again = await EventLog.open(directory);
    expect(await again.append([{ id: 'torn' }])).toEqual({ accepted: 1, duplicates: 0 });
    await again.close();
    expect(lines().map(({ id }) => id)).toEqual(['whole', 'torn']);
  });

  it('begins a new file when one is full, and knows the ids of all', async () => {
    const log = await EventLog.open(directory, { segmentBytes: 50 });
    for (let i = 0; i < 10; i++) await log.append([{ id: `event-${i}` }]);
    await log.close();
    expect(readdirSync(directory).length).toBeGreaterThan(2);
    const again = await EventLog.open(directory, { segmentBytes: 50 });
    expect((await again.append([{ id: 'event-0' }])).duplicates).toBe(1);
    await again.close();
  });

  it('forgets the oldest ids beyond its memory', async () => {
    const log = await EventLog.open(directory, { rememberedIds: 2 });
    await log.append([{ id: '1' }, { id: '2' }, { id: '3' }]);
    expect(await log.append([{ id: '3' }, { id: '1' }])).toEqual({ accepted: 1, duplicates: 1 });
    await log.close();
  });

  it('refuses a log with a broken line in the middle, naming file and line', async () => {
    writeFileSync(join(directory, 'events-00000001.jsonl'), '{"id":"1"}\nnonsense\n{"id":"2"}\n');
    await expect(EventLog.open(directory)).rejects.toMatchObject({
      code: 'EVENT_LOG_CORRUPT',
      message: expect.stringContaining('.jsonl:2'),
    });
  });
});
