import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveModel } from './hub.js';

const COMMIT = 'c0ffee'.padEnd(40, '0');
const weights = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) % 256));
const small = (text: string) => Buffer.from(text);

/** What the local hub holds and how it misbehaves. */
let files: Record<string, Buffer>;
let requests: { path: string; range: string | undefined; token: string | undefined }[];
let answer: (request: IncomingMessage, response: ServerResponse) => boolean;
let server: Server;
let home: string;
const kept = { ...process.env };

/** Imitates the hub's endpoints: a model's commit, its tree, and files with ranges; large ones are told by sha256, small ones as git blobs. */
function serve(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url!, 'http://hub');
  requests.push({ path: url.pathname, range: request.headers.range, token: request.headers.authorization });
  if (answer(request, response)) return;
  const json = (status: number, body: unknown) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  if (/^\/api\/models\/acme\/tiny\/revision\/(main|v1|c0ffee0+)$/.test(url.pathname)) {
    json(200, { _id: '1', id: 'acme/tiny', sha: COMMIT, gated: false, private: false });
    return;
  }
  if (url.pathname === `/api/models/acme/tiny/tree/${COMMIT}`) {
    json(
      200,
      Object.entries(files).map(([path, content]) => {
        const sha = (algorithm: string, ...parts: (string | Buffer)[]) =>
          parts.reduce((hash, part) => hash.update(part), createHash(algorithm)).digest('hex');
        const oid = sha('sha1', `blob ${content.length}\0`, content);
        const lfs =
          content.length > 1000 ? { lfs: { oid: sha('sha256', content), size: content.length, pointerSize: 130 } } : {};
        return { type: 'file', path, size: content.length, oid, ...lfs };
      }),
    );
    return;
  }
  const file = files[url.pathname.replace(`/acme/tiny/resolve/${COMMIT}/`, '')];
  if (file === undefined) {
    json(404, { error: 'Repository not found' });
    return;
  }
  const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  response.writeHead(from > 0 ? 206 : 200, { 'content-length': file.length - from });
  response.end(file.subarray(from));
}

beforeEach(async () => {
  files = {
    'config.json': small('{"model_type":"llama"}'),
    'tokenizer.json': small('{}'),
    'README.md': small('not wanted'),
    'model.safetensors': weights,
  };
  requests = [];
  answer = () => false;
  home = mkdtempSync(join(tmpdir(), 'larr-hub-'));
  server = createServer(serve).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  process.env.HF_ENDPOINT = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  process.env.HF_HOME = home;
  for (const name of ['HF_TOKEN', 'HF_HUB_OFFLINE', 'HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE']) delete process.env[name];
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(home, { recursive: true });
  process.env = { ...kept };
});

const snapshot = () => join(home, 'hub', 'models--acme--tiny', 'snapshots', COMMIT);
const transfers = () => requests.filter(({ path }) => path.includes('/resolve/'));

describe('a model of the hub', () => {
  it('is fetched into the shared cache, as every program of Hugging Face lays it out, and not again', async () => {
    const progress: [number, number][] = [];
    const directory = await resolveModel('acme/tiny', { onProgress: (...at) => progress.push(at) });
    expect(directory).toBe(snapshot());
    expect(readFileSync(join(directory, 'model.safetensors')).equals(weights)).toBe(true);
    expect(readFileSync(join(home, 'hub/models--acme--tiny/refs/main'), 'utf8')).toBe(COMMIT);
    expect(
      existsSync(join(home, 'hub/models--acme--tiny/blobs', createHash('sha256').update(weights).digest('hex'))),
    ).toBe(true);
    expect(existsSync(join(directory, 'README.md'))).toBe(false);
    expect(progress.at(-1)![0]).toBe(progress.at(-1)![1]);
    expect(transfers()).toHaveLength(3);
    await resolveModel('hf:acme/tiny@v1');
    expect(transfers()).toHaveLength(3);
    expect(readFileSync(join(home, 'hub/models--acme--tiny/refs/v1'), 'utf8')).toBe(COMMIT);
  });

  it('of a commit that is cached is taken without a question', async () => {
    await resolveModel(`acme/tiny@${COMMIT}`);
    const asked = requests.length;
    await resolveModel(`acme/tiny@${COMMIT}`);
    expect(requests).toHaveLength(asked);
  });

  it('comes in shards where it has an index', async () => {
    delete files['model.safetensors'];
    files['model.safetensors.index.json'] = small(
      JSON.stringify({ weight_map: { a: 'one.safetensors', b: 'two.safetensors' } }),
    );
    files['one.safetensors'] = weights.subarray(0, 5000);
    files['two.safetensors'] = weights.subarray(5000);
    const directory = await resolveModel('acme/tiny');
    expect(statSync(join(directory, 'two.safetensors')).size).toBe(weights.length - 5000);
    // A shard that is gone from the cache is fetched again.
    rmSync(join(directory, 'two.safetensors'));
    rmSync(
      join(home, 'hub/models--acme--tiny/blobs', createHash('sha256').update(weights.subarray(5000)).digest('hex')),
    );
    await resolveModel('acme/tiny');
    expect(transfers().filter(({ path }) => path.endsWith('two.safetensors'))).toHaveLength(2);
  });

  it('goes on where a transfer broke off', async () => {
    let broken = 0;
    answer = (request, response) => {
      if (!request.url!.endsWith('model.safetensors') || broken++ > 0) return false;
      response.writeHead(200, { 'content-length': weights.length });
      response.write(weights.subarray(0, 100_000), () => response.destroy());
      return true;
    };
    const directory = await resolveModel('acme/tiny');
    expect(readFileSync(join(directory, 'model.safetensors')).equals(weights)).toBe(true);
    const ranges = transfers().flatMap(({ path, range }) => (path.endsWith('model.safetensors') ? [range] : []));
    expect(ranges).toEqual([undefined, expect.stringMatching(/^bytes=[1-9]\d*-$/)]);
  });

  it('goes on in the next run where a run was stopped, and begins anew at a server without ranges', async () => {
    const blobs = join(home, 'hub/models--acme--tiny/blobs');
    const digest = createHash('sha256').update(weights).digest('hex');
    const abort = new AbortController();
    answer = (request, response) => {
      if (!request.url!.endsWith('model.safetensors')) return false;
      response.writeHead(200, { 'content-length': weights.length });
      response.write(weights.subarray(0, 50_000));
      return true;
    };
    const run = resolveModel('acme/tiny', {
      signal: abort.signal,
      onProgress: (done) => done >= 50_000 && abort.abort(new Error('enough')),
    });
    await expect(run).rejects.toThrow('enough');
    expect(statSync(join(blobs, `${digest}.incomplete`)).size).toBeGreaterThanOrEqual(50_000);
    answer = (request, response) => {
      if (!request.url!.endsWith('model.safetensors')) return false;
      response.end(weights);
      return true;
    };
    const directory = await resolveModel('acme/tiny');
    expect(transfers().at(-1)!.range).toMatch(/^bytes=5\d{4}-$/);
    expect(readFileSync(join(directory, 'model.safetensors')).equals(weights)).toBe(true);
  });

  it('is fetched with the token of HF_TOKEN', async () => {
    process.env.HF_TOKEN = 'secret';
    await resolveModel('acme/tiny');
    expect(new Set(requests.map(({ token }) => token))).toEqual(new Set(['Bearer secret']));
  });

  it('that was cached serves while the hub is away, which is told', async () => {
    await resolveModel('acme/tiny');
    process.env.HF_ENDPOINT = 'http://127.0.0.1:9';
    const notices: string[] = [];
    expect(await resolveModel('acme/tiny', { onNotice: (notice) => notices.push(notice) })).toBe(snapshot());
    expect(notices.join()).toMatch(/cannot be reached: the cached acme\/tiny/);
    process.env.HF_HUB_OFFLINE = '1';
    expect(await resolveModel('acme/tiny')).toBe(snapshot());
  });

  it('for an encoder is another set of files', async () => {
    files = {
      'onnx/model.onnx': weights,
      'tokenizer.json': small('{}'),
      '1_Pooling/config.json': small('{"a":1}'),
      'model.safetensors': weights,
    };
    const directory = await resolveModel('acme/tiny', { use: 'encoder' });
    expect(existsSync(join(directory, 'onnx/model.onnx'))).toBe(true);
    expect(existsSync(join(directory, '1_Pooling/config.json'))).toBe(true);
    expect(existsSync(join(directory, 'model.safetensors'))).toBe(false);
  });
});

describe('what cannot be had is told with what to do', () => {
  const refused = (reference: string, code: string, message: RegExp) =>
    expect(resolveModel(reference)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });

  it('a name that is neither a directory nor an id', () =>
    refused('./no/such/place', 'MISSING_FILE', /no directory .*owner\/name/));

  it('a file', async () => {
    const file = join(home, 'model.safetensors');
    writeFileSync(file, '');
    await refused(file, 'NOT_A_DIRECTORY', /is a file/);
  });

  it('a model that the hub does not have', () =>
    refused('acme/none', 'HUB_NOT_FOUND', /no directory acme\/none, and .* 404|spelt/));

  it.each([401, 403])('a gated model (%i)', async (status) => {
    answer = (_, response) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end('{"error":"Access to model acme/tiny is restricted"}');
      return true;
    };
    await refused('acme/tiny', 'HUB_ACCESS', /put a token into HF_TOKEN/);
    process.env.HF_TOKEN = 'hf_x';
    await refused('acme/tiny', 'HUB_ACCESS', /does not let the token/);
  });

  it('a hub that is away, or fails', async () => {
    answer = (_, response) => {
      response.writeHead(503);
      response.end('busy');
      return true;
    };
    await refused('acme/tiny', 'HUB_FAILED', /503/);
    process.env.HF_ENDPOINT = 'http://127.0.0.1:9';
    await refused(
      'acme/tiny',
      'HUB_UNREACHABLE',
      /no directory acme\/tiny, and .* cannot be reached .*Check the network/,
    );
    process.env.HF_HUB_OFFLINE = '1';
    await refused('acme/tiny', 'HUB_UNREACHABLE', /HF_HUB_OFFLINE/);
  });

  it('a file that is not what the hub says, which is not kept', async () => {
    answer = (request, response) => {
      if (!request.url!.endsWith('model.safetensors')) return false;
      const other = Buffer.from(weights);
      other[1234]! ^= 1;
      response.end(other);
      return true;
    };
    await refused('acme/tiny', 'HUB_CHECKSUM', /model\.safetensors.*removed; run the command again/);
    answer = () => false;
    await resolveModel('acme/tiny');
    expect(readFileSync(join(snapshot(), 'model.safetensors')).equals(weights)).toBe(true);
  });

  it('a file of another size', async () => {
    answer = (request, response) => {
      if (!request.url!.endsWith('config.json')) return false;
      response.end('{"model_type":"llama", "longer": true}');
      return true;
    };
    await refused('acme/tiny', 'HUB_CHECKSUM', /config\.json/);
  });

  it('a commit, a file or a revision that would lead out of the cache, and writes nothing there', async () => {
    answer = (request, response) => {
      if (!request.url!.startsWith('/api/models/acme/tiny/revision/')) return false;
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({ _id: '1', id: 'acme/tiny', sha: '../../../escaped', gated: false, private: false }),
      );
      return true;
    };
    await refused('acme/tiny', 'HUB_FAILED', /"\.\.\/\.\.\/\.\.\/escaped" as the commit/);
    answer = () => false;
    files['../../../../escaped'] = small('x');
    await refused('acme/tiny', 'HUB_FAILED', /names a file "\.\.\//);
    delete files['../../../../escaped'];
    const revision = 'v1/../../../../escaped';
    await expect(resolveModel(`acme/tiny@${revision}`)).rejects.toMatchObject({ code: 'BAD_REVISION' });
    expect(readdirSync(home)).toEqual([]);
    // A name in the cache that stands for no commit is as if it were not there.
    await resolveModel('acme/tiny');
    cpSync(snapshot(), join(home, 'elsewhere'), { recursive: true, dereference: true });
    writeFileSync(join(home, 'hub/models--acme--tiny/refs/main'), '../../../elsewhere');
    process.env.HF_HUB_OFFLINE = '1';
    await refused('acme/tiny', 'HUB_UNREACHABLE', /HF_HUB_OFFLINE/);
  });

  it.each([
    ['config.json', /no config\.json/],
    ['tokenizer.json', /neither tokenizer\.json nor tokenizer\.model/],
    ['model.safetensors', /no weights as safetensors/],
  ])('a repository without %s', async (file, message) => {
    delete files[file];
    await refused('acme/tiny', 'HUB_NO_MODEL', message);
  });
});
