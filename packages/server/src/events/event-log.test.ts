import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LogEvent } from '@larr/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EventLog, type LogDamage } from './event-log.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'larr-events-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const received = '2026-01-01T00:00:00.000Z';
const event = (id: string, more: object = {}): LogEvent => ({ id, type: 'click', received, ...more });
const line = (id: string) => `${JSON.stringify(event(id))}\n`;
const lines = (): { id: string }[] =>
  readdirSync(directory)
    .sort()
    .flatMap((name) => readFileSync(join(directory, name), 'utf8').split('\n').filter(Boolean))
    .map((line) => JSON.parse(line));

describe('the event log', () => {
  it('has every acknowledged event on disk, each once, whatever was sent again or together', async () => {
    const log = await EventLog.open(directory);
    const replies = await Promise.all(
      Array.from({ length: 200 }, (_, i) => log.append([event(`a${i % 150}`, { n: i }), event(`b${i}`)])),
    );
    expect(lines()).toHaveLength(350); // before close: acknowledged means written
    expect(replies.reduce((sum, { accepted }) => sum + accepted, 0)).toBe(350);
    expect(replies.reduce((sum, { duplicates }) => sum + duplicates, 0)).toBe(50);
    await log.close();
    const again = await EventLog.open(directory);
    expect(await again.append([event('a3'), event('new')])).toEqual({ accepted: 1, duplicates: 1 });
    await again.close();
    expect(new Set(lines().map(({ id }) => id)).size).toBe(351);
  });

  it('sets aside a line that a crash cut short, says so, and keeps all before it', async () => {
    const log = await EventLog.open(directory);
    await log.append([event('whole')]);
    await log.close();
    appendFileSync(join(directory, 'events-00000001.jsonl'), '{"id":"torn","us');
    const told: LogDamage[] = [];
    const again = await EventLog.open(directory, { onDamage: (damage) => told.push(damage) });
    expect(await again.append([event('torn')])).toEqual({ accepted: 1, duplicates: 0 });
    await again.close();
    const torn = join(directory, 'events-00000001.torn');
    expect(told).toEqual([{ lines: 0, places: [], torn: { bytes: 16, file: torn } }]);
    expect(readFileSync(torn, 'utf8')).toBe('{"id":"torn","us\n');
    rmSync(torn);
    expect(lines().map(({ id }) => id)).toEqual(['whole', 'torn']);
  });

  it('keeps a last event that lacks only the end of its line', async () => {
    writeFileSync(join(directory, 'events-00000001.jsonl'), line('1') + line('2').trimEnd());
    const told: LogDamage[] = [];
    const log = await EventLog.open(directory, { onDamage: (damage) => told.push(damage) });
    expect(await log.append([event('2'), event('3')])).toEqual({ accepted: 1, duplicates: 1 });
    await log.close();
    expect(lines().map(({ id }) => id)).toEqual(['1', '2', '3']);
    expect(told).toEqual([]);
  });

  it('begins a new file when one is full, and knows the ids of all', async () => {
    const log = await EventLog.open(directory, { segmentBytes: 50 });
    for (let i = 0; i < 10; i++) await log.append([event(`event-${i}`)]);
    await log.close();
    expect(readdirSync(directory).length).toBeGreaterThan(2);
    const again = await EventLog.open(directory, { segmentBytes: 50 });
    expect((await again.append([event('event-0')])).duplicates).toBe(1);
    await again.close();
  });

  it('forgets the oldest ids beyond its memory', async () => {
    const log = await EventLog.open(directory, { rememberedIds: 2 });
    await log.append([event('1'), event('2'), event('3')]);
    expect(await log.append([event('3'), event('1')])).toEqual({ accepted: 1, duplicates: 1 });
    await log.close();
  });

  it('opens over broken lines in any file, names them, and knows and keeps every event around them', async () => {
    const [first, second] = ['events-00000001.jsonl', 'events-00000002.jsonl'].map((name) => join(directory, name));
    const old = `${line('1')}nonsense\n${line('2')}{"id":`;
    writeFileSync(first!, old);
    writeFileSync(second!, `{"type":"click"}\n\n${line('3')}\0\0\0\0\n{"id":"x"}\n${line('4')}`);
    const told: LogDamage[] = [];
    const log = await EventLog.open(directory, { onDamage: (damage) => told.push(damage) });
    const again = ['1', '2', '3', '4', '5'].map((id) => event(id));
    expect(await log.append(again)).toEqual({ accepted: 1, duplicates: 4 });
    await log.close();
    expect(told).toEqual([
      {
        lines: 5,
        places: [
          { file: first, line: 2, why: 'it is not JSON' },
          { file: first, line: 4, why: 'a crash cut it short' },
          { file: second, line: 1, why: 'its id is not a text' },
          { file: second, line: 4, why: 'it is not JSON' },
          { file: second, line: 5, why: 'its type is not a text' },
        ],
        torn: null,
      },
    ]);
    expect(readFileSync(first!, 'utf8')).toBe(old);
    expect(readFileSync(second!, 'utf8')).toContain(line('4') + line('5'));
  });

  it('names no more than twenty of many broken lines', async () => {
    writeFileSync(join(directory, 'events-00000001.jsonl'), 'x\n'.repeat(1000));
    const told: LogDamage[] = [];
    const log = await EventLog.open(directory, { onDamage: (damage) => told.push(damage) });
    await log.close();
    expect(told).toMatchObject([{ lines: 1000, places: { length: 20 } }]);
  });
});
