// Models of the Hugging Face hub: found by id, kept in the cache that all programs of Hugging Face share.
import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { getHFHubCachePath, getRepoFolderName, HUB_URL, HubApiError, listFiles, modelInfo } from '@huggingface/hub';
import { DataError, lockDirectory, UsageError, writeFileAtomic } from '@larr/core';

/** What a directory is wanted for, which decides the files that are fetched: a decoder of ours, or a sentence encoder in ONNX. */
export type ModelUse = 'decoder' | 'encoder';

export interface HubOptions {
  /** Default `decoder`. */
  use?: ModelUse;
  signal?: AbortSignal | undefined;
  onNotice?: ((message: string) => void) | undefined;
  /** Bytes of the files fetched so far, of all that are fetched. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

interface HubId {
  name: string;
  revision: string;
}

/** `owner/name`, `owner/name@revision`, either with `hf:` before it. */
const HUB_ID = /^(?:hf:)?([\w][\w.-]*\/[\w][\w.-]*)(?:@([\w][\w./-]*))?$/;

const COMMIT = /^[0-9a-f]{40}$/;

/** Times that a transfer is taken up again after it broke off without bringing anything new. */
const ATTEMPTS = 5;

/**
 * The directory of the model that `--model` names: a directory that is there, or a model of the hub, fetched into the cache
 * (HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub) as far as it is not in it. A transfer that broke off goes on where it
 * stopped; every file is checked against the hub's digest. HF_TOKEN opens gated and private models, HF_ENDPOINT names another hub,
 * HF_HUB_OFFLINE=1 asks none. Without a network the cached model serves.
 *
 * @throws DataError `MISSING_FILE` where it is neither a directory nor a hub id; `HUB_NOT_FOUND`, `HUB_ACCESS`, `HUB_UNREACHABLE`, `HUB_FAILED`,
 *   `HUB_CHECKSUM`; UsageError `BAD_REVISION`; `HUB_NO_MODEL` where the repository holds no files of such a model
 */
export async function resolveModel(reference: string, options: HubOptions = {}): Promise<string> {
  if (existsSync(reference)) {
    if (statSync(reference).isDirectory()) return reference;
    throw new UsageError('NOT_A_DIRECTORY', `${reference} is a file: give the directory that holds the model`);
  }
  const match = HUB_ID.exec(reference);
  if (match === null) {
    throw new DataError(
      'MISSING_FILE',
      `There is no directory ${reference}. Give a directory with a model, or a model of the hub as owner/name or owner/name@revision.`,
    );
  }
  const revision = match[2] ?? 'main';
  if (!staysInside(revision)) {
    throw new UsageError(
      'BAD_REVISION',
      `"${revision}" is no revision: give a branch, a tag or a commit, as owner/name@revision`,
    );
  }
  return fetchModel({ name: match[1]!, revision }, reference, options);
}

/** Whether a path leads to a place below where it begins, as it stands: what a hub answers is not to be trusted. */
function staysInside(path: string): boolean {
  return !path.split(/[/\\]/).some((segment) => segment === '' || segment === '.' || segment === '..');
}

async function fetchModel(id: HubId, reference: string, options: HubOptions): Promise<string> {
  const { use = 'decoder', signal, onNotice } = options;
  const cache = getHFHubCachePath();
  const folder = join(cache, getRepoFolderName({ type: 'model', name: id.name }));
  const cached = await cachedSnapshot(folder, id.revision, use);
  // A commit never changes; of a branch only the hub knows where it stands.
  if (cached !== null && COMMIT.test(id.revision)) return cached;
  const offline = /^(1|true|yes|on)$/i.test(process.env.HF_HUB_OFFLINE ?? '');
  if (offline) {
    if (cached !== null) return cached;
    throw new DataError(
      'HUB_UNREACHABLE',
      `There is no directory ${reference}, and the model ${id.name} is not whole in the cache (${folder}). HF_HUB_OFFLINE forbids to fetch it: unset it.`,
    );
  }
  let commit: string;
  try {
    commit = await told(reference, id, async () => {
      const { sha } = await modelInfo({
        ...hub(signal),
        name: id.name,
        revision: id.revision,
        additionalFields: ['sha'],
      });
      if (!COMMIT.test(sha))
        throw new DataError('HUB_FAILED', `${endpoint()} names "${sha}" as the commit of ${reference}, which is none.`);
      return sha;
    });
  } catch (error) {
    if (cached === null || !(error instanceof DataError) || error.code !== 'HUB_UNREACHABLE') throw error;
    onNotice?.(`${endpoint()} cannot be reached: the cached ${id.name} is taken (${basename(cached)}).`);
    return cached;
  }
  const snapshot = join(folder, 'snapshots', commit);
  const lock = await locked(join(cache, '.locks', basename(folder)), id.name, options);
  try {
    if (!isWhole(snapshot, use) || (await shardsOf(snapshot)).some((shard) => !existsSync(join(snapshot, shard))))
      await fetchSnapshot(id, reference, commit, folder, snapshot, options);
    if (commit !== id.revision) await writeFileAtomic(join(folder, 'refs', id.revision), commit);
  } finally {
    lock.release();
  }
  return snapshot;
}

function endpoint(): string {
  return (process.env.HF_ENDPOINT || HUB_URL).replace(/\/+$/, '');
}

/** What the hub's client needs for every question. The token goes into the header here: other hubs' tokens do not begin with hf_. */
function hub(signal: AbortSignal | undefined) {
  const token = process.env.HF_TOKEN?.trim();
  return {
    hubUrl: endpoint(),
    fetch: (url: string | URL | Request, init: RequestInit = {}) => {
      const headers = new Headers(init.headers);
      if (token) headers.set('authorization', `Bearer ${token}`);
      return fetch(url, { ...init, headers, ...(signal && { signal }) });
    },
  };
}

/** A snapshot in the cache that is whole; null where there is none. */
async function cachedSnapshot(folder: string, revision: string, use: ModelUse): Promise<string | null> {
  const commit = COMMIT.test(revision)
    ? revision
    : (await readFile(join(folder, 'refs', revision), 'utf8').catch(() => '')).trim();
  if (!COMMIT.test(commit)) return null;
  const snapshot = join(folder, 'snapshots', commit);
  if (!isWhole(snapshot, use)) return null;
  const shards = await shardsOf(snapshot);
  return shards.every((shard) => existsSync(join(snapshot, shard))) ? snapshot : null;
}

const TOKENIZERS = ['tokenizer.json', 'tokenizer.model'];
const ENCODERS = ['onnx/model.onnx', 'model.onnx'];
const INDEX = 'model.safetensors.index.json';

/** Files that are fetched where the repository has them. */
const optional: Record<ModelUse, string[]> = {
  decoder: [
    'tokenizer_config.json',
    'added_tokens.json',
    'special_tokens_map.json',
    'generation_config.json',
    'chat_template.jinja',
  ],
  encoder: [
    'tokenizer_config.json',
    'special_tokens_map.json',
    'modules.json',
    'sentence_bert_config.json',
    'config_sentence_transformers.json',
    '1_Pooling/config.json',
    'onnx/model.onnx_data',
    'model.onnx_data',
  ],
};

function isWhole(snapshot: string, use: ModelUse): boolean {
  const has = (file: string) => existsSync(join(snapshot, file));
  if (use === 'encoder') return has('tokenizer.json') && ENCODERS.some(has);
  return has('config.json') && TOKENIZERS.some(has) && (has(INDEX) || has('model.safetensors'));
}

/** The shards that an index in the snapshot names; none where there is no index. */
async function shardsOf(snapshot: string): Promise<string[]> {
  const index = join(snapshot, INDEX);
  if (!existsSync(index)) return [];
  try {
    const { weight_map } = JSON.parse(await readFile(index, 'utf8')) as { weight_map: Record<string, string> };
    return [...new Set(Object.values(weight_map))].filter((file) => basename(file) === file && staysInside(file));
  } catch {
    return []; // Told when the model is loaded.
  }
}

/** A file of the repository: its blob's name in the cache is its digest. */
interface RemoteFile {
  path: string;
  size: number;
  digest: string;
  algorithm: 'sha256' | 'git';
}

async function fetchSnapshot(
  id: HubId,
  reference: string,
  commit: string,
  folder: string,
  snapshot: string,
  options: HubOptions,
): Promise<void> {
  const { use = 'decoder', signal, onNotice, onProgress } = options;
  const remote = new Map<string, RemoteFile>();
  await told(reference, id, async () => {
    const repository = { ...hub(signal), repo: { type: 'model' as const, name: id.name }, revision: commit };
    for await (const { type, path, size, oid, lfs } of listFiles({ ...repository, recursive: true })) {
      if (type !== 'file') continue;
      if (!staysInside(path))
        throw new DataError(
          'HUB_FAILED',
          `${endpoint()} names a file "${path}" of ${id.name}, which would lie elsewhere.`,
        );
      const digest = lfs?.oid ?? oid ?? '';
      remote.set(path, { path, size: lfs?.size ?? size, digest, algorithm: lfs === undefined ? 'git' : 'sha256' });
    }
  });
  const has = (path: string) => remote.has(path);
  const none = (what: string) =>
    new UsageError(
      'HUB_NO_MODEL',
      `${id.name} on ${endpoint()} has ${what}. Take a model of the families in docs/language-model.md.`,
    );
  const wanted = [...optional[use], ...(use === 'decoder' ? TOKENIZERS : []), 'config.json'].filter(has);
  if (use === 'encoder') {
    const graph = ENCODERS.find(has);
    if (graph === undefined) throw none(`no ${ENCODERS.join(' or ')}`);
    if (!has('tokenizer.json')) throw none('no tokenizer.json');
    wanted.push(graph, 'tokenizer.json');
  } else {
    if (!has('config.json')) throw none('no config.json');
    if (!TOKENIZERS.some(has)) throw none(`neither ${TOKENIZERS.join(' nor ')}`);
    if (!has(INDEX) && !has('model.safetensors')) throw none('no weights as safetensors');
    if (has(INDEX)) {
      await fetchFile(remote.get(INDEX)!, id, reference, commit, folder, snapshot, signal, () => {});
      const shards = await shardsOf(snapshot);
      const missing = shards.find((shard) => !has(shard));
      if (missing !== undefined) throw none(`an index of shards, but not the shard ${missing}`);
      wanted.push(...shards);
    } else wanted.push('model.safetensors');
  }
  const files = wanted.map((path) => remote.get(path)!);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  onNotice?.(`Fetching ${id.name} (${commit.slice(0, 8)}), ${(total / 1e6).toFixed(1)} MB, into ${snapshot}.`);
  let done = 0;
  for (const file of files) {
    await fetchFile(file, id, reference, commit, folder, snapshot, signal, (bytes) =>
      onProgress?.(done + bytes, total),
    );
    done += file.size;
    onProgress?.(done, total);
  }
}

/** Brings one file into the cache: its content among the blobs, a link to it in the snapshot. */
async function fetchFile(
  file: RemoteFile,
  id: HubId,
  reference: string,
  commit: string,
  folder: string,
  snapshot: string,
  signal: AbortSignal | undefined,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const link = join(snapshot, file.path);
  if (existsSync(link)) return;
  const blob = join(folder, 'blobs', file.digest);
  if (!/^[0-9a-f]{40,64}$/.test(file.digest))
    throw new DataError('HUB_FAILED', `${endpoint()} tells no digest of ${id.name}/${file.path}.`);
  await mkdir(dirname(blob), { recursive: true });
  if (!existsSync(blob)) {
    const incomplete = `${blob}.incomplete`;
    const url = `${endpoint()}/${id.name}/resolve/${commit}/${file.path}`;
    await transfer(url, incomplete, file, reference, id, signal, onBytes);
    const found = await digestOf(incomplete, file);
    if (found !== file.digest)
      throw await otherContent(url, incomplete, `${file.size} bytes of digest ${file.digest}, not ${found}`);
    await rename(incomplete, blob);
  }
  await mkdir(dirname(link), { recursive: true });
  await rm(link, { force: true }); // a link whose blob was removed
  await symlink(relative(dirname(link), blob), link);
}

/** Fetches what `path` lacks of a file; each attempt goes on after the last byte of the one before. */
async function transfer(
  url: string,
  path: string,
  file: RemoteFile,
  reference: string,
  id: HubId,
  signal: AbortSignal | undefined,
  onBytes: (bytes: number) => void,
): Promise<void> {
  for (let attempt = 1; ; ) {
    let have = (await stat(path).catch(() => null))?.size ?? 0;
    if (have > file.size) {
      await rm(path);
      have = 0;
    }
    if (have === file.size) {
      if (have === 0) await (await open(path, 'a')).close();
      return;
    }
    const before = have;
    try {
      await told(reference, id, async () => {
        const response = await hub(signal).fetch(url, have > 0 ? { headers: { range: `bytes=${have}-` } } : {});
        if (!response.ok) throw new HubApiError(url, response.status, undefined, await response.text());
        if (response.status !== 206) have = 0;
        const out = await open(path, have > 0 ? 'a' : 'w');
        try {
          for await (const chunk of response.body ?? []) {
            await out.write(chunk as Uint8Array);
            have += (chunk as Uint8Array).byteLength;
            onBytes(have);
          }
        } finally {
          await out.close();
        }
      });
      if (have === file.size) return;
      if (have > file.size) throw await otherContent(url, path, `${file.size} bytes, not ${have}`);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (!(error instanceof DataError) || error.code !== 'HUB_UNREACHABLE') throw error;
      if (attempt >= ATTEMPTS) {
        throw new DataError(
          'HUB_UNREACHABLE',
          `${url} broke off ${ATTEMPTS} times; ${have} of ${file.size} bytes are kept. Run the command again: it goes on from there.`,
          { cause: error },
        );
      }
    }
    attempt = have > before ? 1 : attempt + 1;
    await setTimeout(200 * 2 ** (attempt - 1), undefined, signal && { signal });
  }
}

/** What was fetched is removed: going on from it would never end well. */
async function otherContent(url: string, path: string, difference: string): Promise<DataError> {
  await rm(path);
  return new DataError(
    'HUB_CHECKSUM',
    `What ${url} gave is not what the hub says it is: ${difference}. It was removed; run the command again to fetch it anew.`,
  );
}

/** sha256 of a large file's content, sha1 of a small one's git blob: what the hub tells of each. */
async function digestOf(path: string, { size, algorithm }: RemoteFile): Promise<string> {
  const hash = createHash(algorithm === 'git' ? 'sha1' : 'sha256');
  if (algorithm === 'git') hash.update(`blob ${size}\0`);
  const file = await open(path);
  for await (const chunk of file.createReadStream()) hash.update(chunk);
  return hash.digest('hex');
}

/** Runs a question to the hub and puts its errors into words. */
async function told<T>(reference: string, { name, revision }: HubId, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof HubApiError) {
      const page = `${endpoint()}/${name}`;
      const status = error.statusCode;
      if (status === 404) {
        throw new DataError(
          'HUB_NOT_FOUND',
          `There is no directory ${reference}, and ${page} has no model of that name, revision "${revision}" and file (404). Check how it is spelt.`,
          { cause: error },
        );
      }
      if (status === 401 || status === 403) {
        throw new DataError(
          'HUB_ACCESS',
          process.env.HF_TOKEN
            ? `${page} does not let the token in HF_TOKEN read it (${status}): it is gated or private, or there is none of that name. Accept its terms there with the token's account.`
            : `${page} asks who wants it (${status}): it is gated or private, or there is none of that name. Accept its terms there, and put a token into HF_TOKEN.`,
          { cause: error },
        );
      }
      throw new DataError('HUB_FAILED', `${page} answered ${status}: ${error.message}. Try again later.`, {
        cause: error,
      });
    }
    if (error instanceof DataError || (error as Error).name === 'AbortError') throw error;
    throw new DataError(
      'HUB_UNREACHABLE',
      `There is no directory ${reference}, and ${endpoint()} cannot be reached for a model of that name (${reasonOf(error)}). Check the network, or copy the model into a directory.`,
      { cause: error },
    );
  }
}

function reasonOf(error: unknown): string {
  const cause = (error as { cause?: { code?: string; message?: string } }).cause;
  return cause?.code ?? cause?.message ?? (error as Error).message;
}

/** Two processes that want the same model, as ranks of one run do, fetch it one after the other. */
async function locked(directory: string, name: string, { signal, onNotice }: HubOptions) {
  for (let waited = false; ; waited = true) {
    try {
      return lockDirectory(directory, 'the model in the cache');
    } catch (error) {
      if (!(error instanceof UsageError) || error.code !== 'IN_USE') throw error;
      if (!waited) onNotice?.(`Another process fetches ${name}; waiting for it.`);
      await setTimeout(500, undefined, signal && { signal });
    }
  }
}
