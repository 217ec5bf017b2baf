import { constants } from 'node:fs';
import { type FileHandle, open, readdir, realpath, stat } from 'node:fs/promises';
import { basename, join, relative, sep } from 'node:path';
import { UsageError } from '@larr/core';

/** How deep below the directory runs are looked for, and how many folders are looked into. */
const DEPTH = 5;
const FOLDERS = 5000;

const RECORD_BYTES = 1 << 20;
const METRICS_BYTES = 256 << 20;
const REPORT_BYTES = 32 << 20;

/** For so long a walk's answer is given again. */
const WALK_MS = 2000;

/** What `run.json` says of a run, without paths of this machine. */
export interface RunSummary {
  /** the run's name in addresses: its path with `~` for `/` */
  id: string;
  /** the path below the directory */
  path: string;
  stage: string | null;
  dataset: string | null;
  model: string | null;
  seeds: number[];
  startedAt: string | null;
  finishedAt: string | null;
  /** of the latest sitting */
  outcome: string | null;
  error: string | null;
  /** when a file of it last changed */
  changedAt: string;
  report: boolean;
  metrics: boolean;
}

export interface Run extends RunSummary {
  device: string | null;
  threads: number | null;
  versions: Record<string, unknown>;
  command: string[];
  config: unknown;
  sittings: { startedAt: string; endedAt: string | null; outcome: string; error: string | null }[];
  inputs: string[];
}

/** Lines of a metrics file; of a file with more than `limit`, evenly spaced ones. */
export interface MetricRows {
  rows: Record<string, unknown>[];
  /** lines in the file */
  total: number;
}

interface Found {
  id: string;
  path: string;
  directory: string;
}

/**
 * Run directories below one directory, read-only. An id is looked up among what a walk found and never becomes a path; links are not
 * followed, in the walk or when a file is opened, so nothing outside is reachable.
 */
export class RunDirectory {
  readonly #root: string;
  #walked: { at: number; runs: Promise<Map<string, Found>> } | null = null;

  private constructor(root: string) {
    this.#root = root;
  }

  /** @throws UsageError RUNS_MISSING where the directory is not there */
  static async open(directory: string): Promise<RunDirectory> {
    try {
      if ((await stat(directory)).isDirectory()) return new RunDirectory(await realpath(directory));
    } catch {
      // said below
    }
    throw new UsageError('RUNS_MISSING', `${directory} is not a directory: name one that holds runs`);
  }

  /** Every run, the latest first. */
  async list(): Promise<RunSummary[]> {
    const summaries: RunSummary[] = [];
    for (const found of (await this.#runs()).values()) {
      const run = await this.#read(found);
      if (run !== null) summaries.push(summary(run));
    }
    return summaries.sort(
      (a, b) => (b.startedAt ?? '').localeCompare(a.startedAt ?? '') || a.path.localeCompare(b.path),
    );
  }

  /** One run; null where there is none of that id. */
  async run(id: string): Promise<Run | null> {
    const found = (await this.#runs()).get(id);
    return found === undefined ? null : this.#read(found);
  }

  /** The run's metrics; null where it has none. */
  async metrics(id: string, limit: number): Promise<MetricRows | null> {
    const handle = await this.#file(id, 'metrics.jsonl', METRICS_BYTES);
    if (handle === null) return null;
    try {
      return await sampledLines(handle, limit);
    } finally {
      await handle.close();
    }
  }

  /** The run's report to read from; null where it has none, or one too large to show. The caller closes it. */
  report(id: string): Promise<FileHandle | null> {
    return this.#file(id, 'report.html', REPORT_BYTES);
  }

  /** A regular file of a run, opened without following links; null where there is none of at most `most` bytes. */
  async #file(id: string, name: string, most: number): Promise<FileHandle | null> {
    const found = (await this.#runs()).get(id);
    if (found === undefined) return null;
    return this.#open(found.directory, name, most);
  }

  async #open(directory: string, name: string, most: number): Promise<FileHandle | null> {
    try {
      // A folder that became a link since the walk leads elsewhere.
      if ((await realpath(directory)) !== directory) return null;
      const handle = await open(
        join(directory, name),
        constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
      );
      const info = await handle.stat();
      if (info.isFile() && info.size <= most) return handle;
      await handle.close();
    } catch (error) {
      if (!['ENOENT', 'ELOOP', 'EACCES', 'ENOTDIR', 'ENXIO'].includes((error as NodeJS.ErrnoException).code ?? ''))
        throw error;
    }
    return null;
  }

  #runs(): Promise<Map<string, Found>> {
    const now = performance.now();
    if (this.#walked === null || now - this.#walked.at > WALK_MS) this.#walked = { at: now, runs: this.#walk() };
    return this.#walked.runs;
  }

  async #walk(): Promise<Map<string, Found>> {
    const runs = new Map<string, Found>();
    let folders = 0;
    let level = [this.#root];
    for (let depth = 0; depth <= DEPTH && level.length > 0; depth++) {
      const next: string[] = [];
      for (const directory of level) {
        if (++folders > FOLDERS) return runs;
        const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
        if (entries.some((entry) => entry.name === 'run.json' && entry.isFile())) {
          const path = relative(this.#root, directory).split(sep).join('/') || basename(this.#root);
          const id = path.replaceAll('/', '~');
          if (id.length <= 256 && !runs.has(id)) runs.set(id, { id, path, directory });
        }
        // isDirectory is false for a link to one
        next.push(
          ...entries
            .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
            .map(({ name }) => join(directory, name)),
        );
      }
      level = next;
    }
    return runs;
  }

  async #read({ id, path, directory }: Found): Promise<Run | null> {
    const handle = await this.#open(directory, 'run.json', RECORD_BYTES);
    if (handle === null) return null;
    let record: unknown;
    let changed = (await handle.stat()).mtimeMs;
    try {
      record = JSON.parse(await handle.readFile('utf8'));
    } catch {
      return null;
    } finally {
      await handle.close();
    }
    const metrics = await this.#changed(directory, 'metrics.jsonl', METRICS_BYTES);
    const report = await this.#changed(directory, 'report.html', REPORT_BYTES);
    changed = Math.max(changed, metrics ?? 0, report ?? 0);
    const facts = {
      id,
      path,
      changedAt: new Date(changed).toISOString(),
      metrics: metrics !== null,
      report: report !== null,
    };
    return isObject(record) && record.format === 'larr-run-record' ? { ...asRun(record), ...facts } : null;
  }

  async #changed(directory: string, name: string, most: number): Promise<number | null> {
    const handle = await this.#open(directory, name, most);
    if (handle === null) return null;
    try {
      return (await handle.stat()).mtimeMs;
    } finally {
      await handle.close();
    }
  }
}

function summary(run: Run): RunSummary {
  const { id, path, stage, dataset, model, seeds, startedAt, finishedAt, outcome, error, changedAt, report, metrics } =
    run;
  return { id, path, stage, dataset, model, seeds, startedAt, finishedAt, outcome, error, changedAt, report, metrics };
}

/** A record as it comes from the disk: any field may be missing, or of a later version. */
function asRun(record: Record<string, unknown>): Omit<Run, 'id' | 'path' | 'changedAt' | 'metrics' | 'report'> {
  const dataset = isObject(record.dataset) ? record.dataset : {};
  const config = withoutPaths(record.config) ?? null;
  const sittings = (Array.isArray(record.sittings) ? record.sittings : []).filter(isObject).map((sitting) => ({
    startedAt: text(sitting.startedAt) ?? '',
    endedAt: text(sitting.endedAt),
    outcome: text(sitting.outcome) ?? 'unknown',
    error: withoutPathsIn(text(sitting.error)),
  }));
  const last = sittings.at(-1);
  return {
    stage: text(record.stage),
    dataset: text(dataset.name),
    model: isObject(record.config) ? text(record.config.model) : null,
    seeds: [record.seed].flat().filter((seed): seed is number => typeof seed === 'number'),
    startedAt: text(record.startedAt),
    finishedAt: text(record.finishedAt),
    outcome: last?.outcome ?? null,
    error: last?.error ?? null,
    device: text(record.device),
    threads: typeof record.threads === 'number' ? record.threads : null,
    versions: isObject(record.versions) ? (withoutPaths(record.versions) as Record<string, unknown>) : {},
    command: (Array.isArray(record.command) ? record.command : []).map((word) => withoutPathsIn(String(word)) ?? ''),
    config,
    sittings,
    inputs: isObject(record.inputs) ? Object.keys(record.inputs) : [],
  };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);

/** Absolute paths say where things lie on this machine, which is nobody's business: their last part stays. */
function withoutPathsIn(value: string | null): string | null {
  return (
    value?.replaceAll(
      /(^|[\s"'=(])(?:\/[^\s"'()]+)+\/?/g,
      (path, before: string) => `${before}…/${basename(path.trim())}`,
    ) ?? null
  );
}

function withoutPaths(value: unknown): unknown {
  if (typeof value === 'string') return withoutPathsIn(value);
  if (Array.isArray(value)) return value.map(withoutPaths);
  if (isObject(value))
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, withoutPaths(inner)]));
  return value;
}

/** Parses at most `limit` lines, evenly spaced and always the last one; others' requests are answered in between. */
async function sampledLines(handle: FileHandle, limit: number): Promise<MetricRows> {
  let total = 0;
  for await (const lines of linesOf(handle)) total += lines.length;
  const stride = Math.max(1, Math.ceil(total / limit));
  const rows: Record<string, unknown>[] = [];
  let at = 0;
  for await (const lines of linesOf(handle)) {
    for (const line of lines) {
      if (at % stride === 0 || at === total - 1) {
        const row = parsed(line);
        if (row !== null) rows.push(row);
      }
      at++;
    }
  }
  return { rows, total };
}

/** The whole lines of a file, a chunk's at a time; a last line that a run is still writing is left out. */
async function* linesOf(handle: FileHandle): AsyncGenerator<string[]> {
  const chunk = Buffer.alloc(1 << 18);
  let rest: Buffer = Buffer.alloc(0);
  let position = 0;
  for (;;) {
    const { bytesRead } = await handle.read(chunk, 0, chunk.length, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    const bytes = Buffer.concat([rest, chunk.subarray(0, bytesRead)]);
    const end = bytes.lastIndexOf(0x0a) + 1;
    rest = Buffer.from(bytes.subarray(end));
    // A line longer than this is none of a metrics file.
    if (rest.length > RECORD_BYTES) return;
    const lines = bytes.subarray(0, end).toString('utf8').split('\n');
    lines.pop();
    yield lines;
  }
}

function parsed(line: string): Record<string, unknown> | null {
  try {
    const row: unknown = JSON.parse(line);
    return isObject(row) ? row : null;
  } catch {
    return null;
  }
}
