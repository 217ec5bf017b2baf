import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { consoleDirectory } from '../../console/console-files.js';
import { createMetrics } from '../../observability/metrics.js';
import { ModelRegistry } from '../../ranking/model-registry.js';
import { RunDirectory } from '../../run-directories/run-directory.js';
import { createApp } from '../app.js';
import { type AppState, DEFAULT_LIMITS } from '../state.js';

const open: { close: () => PromiseLike<unknown> }[] = [];
afterAll(async () => {
  for (const one of open) await one.close();
});
function serving(more: Partial<AppState>) {
  const state = { models: new ModelRegistry(), events: null, experiments: null, stopping: false, ...more };
  const app = createApp({ state, metrics: createMetrics(), limits: DEFAULT_LIMITS });
  open.push(app);
  return app;
}

describe('the console', () => {
  const app = serving({ console: true });

  it('is built', () => {
    expect(consoleDirectory()).not.toBeNull();
  });

  it('is one page under every address without an ending, which nothing may be written into', async () => {
    for (const url of ['/console', '/console/', '/console/runs/models~a', '/console/health?x=1']) {
      const reply = await app.inject(url);
      expect([url, reply.statusCode, reply.headers['content-type']]).toEqual([url, 200, 'text/html; charset=utf-8']);
      const policy = String(reply.headers['content-security-policy']);
      expect(policy).toMatch(/default-src 'none'.*script-src 'self'.*style-src 'self'.*frame-ancestors 'none'/);
      expect(policy).not.toMatch(/unsafe|data:|https?:|\*/);
      expect(reply.headers['cache-control']).toBe('no-cache');
      expect(reply.body).not.toMatch(/<script(?![^>]*src=)|<style|style=|\son\w+=|https?:/);
    }
    const first = await app.inject('/');
    expect([first.statusCode, first.headers.location]).toEqual([302, '/console/']);
  });

  it('sends its files packed as the browser takes them, for ever where their name changes with them, and not twice', async () => {
    const page = (await app.inject('/console/')).body;
    const script = /src="(\/console\/assets\/[^"]+\.js)"/.exec(page)![1]!;
    const plain = await app.inject(script);
    expect(plain.headers['content-type']).toBe('text/javascript; charset=utf-8');
    expect(plain.headers['cache-control']).toMatch(/immutable/);
    const ask = async (encoding: string) =>
      (await app.inject({ url: script, headers: { 'accept-encoding': encoding } })).rawPayload;
    expect(gunzipSync(await ask('gzip')).equals(plain.rawPayload)).toBe(true);
    expect(brotliDecompressSync(await ask('gzip, br')).equals(plain.rawPayload)).toBe(true);
    const again = await app.inject({
      url: '/console/',
      headers: { 'if-none-match': String((await app.inject('/console/')).headers.etag) },
    });
    expect([again.statusCode, again.body]).toEqual([304, '']);
  });

  it('reaches no file but its own', async () => {
    for (const path of [
      '/console/../package.json',
      '/console/%2e%2e/package.json',
      '/console/..%2fpackage.json',
      '/console/assets/none.js',
    ]) {
      const reply = await app.inject(path);
      expect([404, 400]).toContain(reply.statusCode);
      expect(reply.body).not.toContain('@larr');
    }
    expect((await app.inject({ method: 'POST', url: '/console/' })).statusCode).toBe(405);
  });

  it('frames reports in a page without an origin', async () => {
    const { headers } = await app.inject('/console/report-frame.html');
    expect(headers['content-security-policy']).toMatch(/default-src 'none'.*sandbox allow-scripts$/);
    expect(headers['content-security-policy']).not.toMatch(/connect-src|allow-same-origin/);
    expect(headers['x-frame-options']).toBe('SAMEORIGIN');
  });

  it('is not there where it was switched off', async () => {
    const off = serving({ console: false });
    expect((await off.inject('/console/')).json().error.code).toBe('NOT_FOUND');
    expect((await off.inject('/')).statusCode).toBe(404);
  });
});

describe('runs over HTTP', () => {
  const directory = mkdtempSync(join(tmpdir(), 'larr-runs-'));
  const record = {
    format: 'larr-run-record',
    version: 1,
    stage: 'train',
    startedAt: '2026-01-01T00:00:00Z',
    sittings: [],
  };
  writeFileSync(join(directory, 'run.json'), JSON.stringify(record));
  writeFileSync(join(directory, 'metrics.jsonl'), '{"step":1,"loss":0.5}\n{"step":2,"loss":0.4}\n');
  writeFileSync(
    join(directory, 'report.html'),
    '<!doctype html><title>r</title><style>b{}</style><script>alert(1)</script>',
  );
  const ready = RunDirectory.open(directory).then((runs) => serving({ runs }));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it('lists them, tells one with its metrics, and hands out its report as something that may do nothing', async () => {
    const app = await ready;
    const { runs } = (await app.inject('/v1/runs')).json();
    expect(runs).toHaveLength(1);
    const run = (await app.inject(`/v1/runs/${runs[0].id}`)).json();
    expect(run.metrics).toEqual({
      rows: [
        { step: 1, loss: 0.5 },
        { step: 2, loss: 0.4 },
      ],
      total: 2,
    });
    expect((await app.inject(`/v1/runs/${runs[0].id}?rows=1`)).json().metrics.rows).toContainEqual({
      step: 2,
      loss: 0.4,
    });
    const report = await app.inject(`/v1/runs/${runs[0].id}/report.html`);
    expect(report.body).toContain('<title>r</title>');
    expect(report.headers['content-security-policy']).toMatch(/default-src 'none'.*sandbox$/);
  });

  it('refuses what is no run of the directory', async () => {
    const app = await ready;
    for (const path of ['nothing', '..%2f..%2fetc', '..~..', 'nothing/report.html'])
      expect((await app.inject(`/v1/runs/${path}`)).json().error.code).toBe('RUN_UNKNOWN');
    expect((await app.inject('/v1/runs/x?rows=0')).json().error).toMatchObject({
      code: 'QUERY_INVALID',
      field: 'rows',
    });
  });

  it('is no address of a server without a directory of runs', async () => {
    expect((await serving({}).inject('/v1/runs')).json().error.code).toBe('NOT_FOUND');
  });
});
