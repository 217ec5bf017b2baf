import { describe, expect, it, vi } from 'vitest';
import type { EventInput, EventsRequest } from './api.generated.js';
import { LarrClient } from './client.js';
import { EventQueue, type NewEvent } from './event-queue.js';

const event = (more: Partial<NewEvent> = {}): NewEvent => ({
  type: 'click',
  user: 'u',
  poi: 'p',
  time: '2026-01-10T12:00:00',
  ...more,
});
const reply = (status: number, value: unknown): Response =>
  new Response(JSON.stringify(value), { status, headers: { 'content-type': 'application/json' } });
const refused = (status: number, field?: string): Response =>
  reply(status, { error: { code: 'X', message: 'x', field }, requestId: 'r' });

/** A server that keeps events by id, after `before` had its say. */
function serving(before: (events: EventInput[], attempt: number) => Response | 'lost' | undefined = () => undefined) {
  const kept = new Map<string, EventInput>();
  const batches: number[] = [];
  const client = new LarrClient({
    url: 'http://larr.test',
    retries: 0,
    fetch: async (_target, init) => {
      const { events } = JSON.parse(String(init?.body)) as EventsRequest;
      batches.push(events.length);
      const said = before(events, batches.length);
      if (said instanceof Response) return said;
      const fresh = events.filter(({ id }) => !kept.has(id));
      for (const one of events) kept.set(one.id, one);
      // written, and the answer did not arrive
      if (said === 'lost') throw new TypeError('fetch failed');
      return reply(200, { requestId: 'r', accepted: fresh.length, duplicates: events.length - fresh.length });
    },
  });
  return { client, kept, batches };
}

describe('the event queue', () => {
  it('gives each event an id of its own, and sends them in batches', async () => {
    const { client, kept, batches } = serving();
    const queue = new EventQueue(client, { batch: 10, waitMs: 5 });
    const ids = Array.from({ length: 25 }, (_, i) => queue.add(event({ position: i + 1 })));
    expect(queue.add(event({ id: 'mine' }))).toBe('mine');
    await queue.close();
    expect(new Set(ids).size).toBe(25);
    expect([...kept.keys()]).toEqual([...ids, 'mine']);
    expect(batches).toEqual([10, 10, 6]);
    expect(queue.size).toBe(0);
    expect(() => queue.add(event())).toThrow(/closed/);
  });

  it('sends what waits by itself', async () => {
    const { client, kept } = serving();
    const queue = new EventQueue(client, { waitMs: 10 });
    queue.add(event());
    await vi.waitFor(() => expect(kept.size).toBe(1), 5000);
    await vi.waitFor(() => expect(queue.size).toBe(0), 5000);
  });

  it('sends again what was not acknowledged, in order and as the same events', async () => {
    const { client, kept } = serving((_events, attempt) =>
      attempt === 1 ? 'lost' : attempt === 2 ? refused(503) : undefined,
    );
    const trouble: string[] = [];
    const queue = new EventQueue(client, { batch: 2, waitMs: 1, onTrouble: (error) => trouble.push(error.name) });
    const ids = [1, 2, 3].map(() => queue.add(event()));
    await vi.waitFor(() => expect(trouble).toHaveLength(1), 5000);
    expect(queue.size).toBe(3);
    await expect(queue.flush()).rejects.toMatchObject({ name: 'LarrBusyError' });
    expect(queue.size).toBe(3);
    await queue.close();
    expect([...kept.keys()]).toEqual(ids);
    expect(trouble).toEqual(['LarrConnectionError']);
  });

  it('drops an event that the server will never take, tells of it, and sends the others', async () => {
    const { client, kept } = serving((events) => {
      const wrong = events.findIndex(({ time }) => time === 'yesterday');
      return wrong === -1 ? undefined : refused(400, `events[${wrong}].time`);
    });
    const gone: string[] = [];
    const queue = new EventQueue(client, { onRefused: ({ id }, { code }) => gone.push(`${id} ${code}`) });
    for (const [i, time] of ['2026-01-01', 'yesterday', '2026-01-02', 'yesterday'].entries())
      queue.add(event({ id: `e${i}`, time }));
    await queue.close();
    expect([...kept.keys()]).toEqual(['e0', 'e2']);
    expect(gone).toEqual(['e1 X', 'e3 X']);
  });

  it('keeps no more than it may, and loses nothing that it took', async () => {
    let open = false;
    const { client, kept } = serving(() => (open ? undefined : refused(503)));
    const queue = new EventQueue(client, { batch: 5, capacity: 12, waitMs: 1 });
    const taken: string[] = [];
    expect(() => {
      for (;;) taken.push(queue.add(event()));
    }).toThrow(/12 events wait/);
    await expect(queue.close()).rejects.toMatchObject({ status: 503 });
    open = true;
    await queue.close();
    expect([...kept.keys()]).toEqual(taken);
  });

  it('has one request under way at a time', async () => {
    let under = 0;
    let most = 0;
    const client = new LarrClient({
      url: 'http://larr.test',
      fetch: async (_target, init) => {
        most = Math.max(most, ++under);
        await new Promise((resolve) => setTimeout(resolve, 5));
        under--;
        return reply(200, { requestId: 'r', accepted: JSON.parse(String(init?.body)).events.length, duplicates: 0 });
      },
    });
    const queue = new EventQueue(client, { batch: 3, waitMs: 1 });
    const flushes = Array.from({ length: 20 }, () => {
      queue.add(event());
      return queue.flush();
    });
    await Promise.all(flushes);
    await queue.close();
    expect(most).toBe(1);
    expect(queue.size).toBe(0);
  });
});
