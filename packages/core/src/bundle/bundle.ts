import { copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, posix, relative, sep } from 'node:path';
import { Worker } from 'node:worker_threads';
import { z } from 'zod';
import type { CategoricalSpec, DenseSpec, SceneFieldSpec, SequenceSpec } from '../dataset/manifest.js';
import { BundleError } from '../errors.js';
import { buildDirectoryAtomic } from '../files/atomic.js';
import { digestFile } from './digest.js';
import { ParityTolerance } from './parity.js';

/** features.json of a bundle: the split's features with their vocabularies inline. */
export interface BundleFeatures {
  categorical: (Omit<CategoricalSpec, 'vocabulary'> & {
    vocabulary: string[];
    /** First row of the feature's embeddings in the fused table; row = rowOffset + index. */
    rowOffset: number;
  })[];
  dense: DenseSpec[];
  sequences: SequenceSpec[];
  scene: SceneFieldSpec[];
}

const BundleManifestShape = z.object({
  format: z.literal('larr-bundle'),
  version: z.literal(1),
  createdAt: z.string(),
  versions: z.record(z.string(), z.string()),
  name: z.string(),
  model: z.object({
    name: z.string(),
    tasks: z.union([z.tuple([z.literal('click'), z.literal('order')]), z.tuple([z.literal('click')])]),
  }),
  dataset: z.object({ name: z.string(), split: z.string(), schemaDigest: z.string() }),
  /** Test metrics of the exported model. */
  metrics: z.record(z.string(), z.unknown()),
  /** Shapes and names of the ranker's inputs. */
  inputs: z.record(z.string(), z.unknown()),
  /** How far a server's scores of parity.safetensors may lie from the trainer's there. */
  parity: z.object({ rows: z.int().min(0), tolerance: ParityTolerance }),
  files: z.record(z.string(), z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), bytes: z.int().min(0) })),
});

/** manifest.json of a bundle. */
export type BundleManifest = z.output<typeof BundleManifestShape>;

/** Content of a bundle's file: bytes, text, or a file to copy. */
export type BundleFile = Uint8Array | string | { from: string };

/** A bundle whose every file matches its manifest; those that are checked later, once `whole` has resolved. */
export interface Bundle {
  /** Rejects with `BUNDLE_FILE_CHANGED` where a file that is checked later is another than the manifest's. */
  whole: Promise<void>;
  directory: string;
  manifest: BundleManifest;
  /** Full path of a file of the bundle. @throws BundleError `BUNDLE_FILE_MISSING` */
  path(file: string): string;
  /** A JSON file of the bundle. @throws BundleError `BUNDLE_FILE_MISSING`, `BUNDLE_CORRUPT` */
  json<T>(file: string): Promise<T>;
}

/**
 * Writes a bundle directory: all files, then the manifest with each one's sha256 and size. It appears, or replaces an older
 * bundle, as a whole.
 * @param files path inside the bundle ("store/users.parquet") → content
 * @throws BundleError `BUNDLE_PATH` for a path that leaves the bundle
 */
export async function writeBundle(
  directory: string,
  files: Record<string, BundleFile>,
  manifest: Omit<BundleManifest, 'format' | 'version' | 'createdAt' | 'files'> & { createdAt?: string },
): Promise<BundleManifest> {
  for (const path of Object.keys(files)) checkPath(path);
  return buildDirectoryAtomic(directory, async (building) => {
    const listed: BundleManifest['files'] = {};
    for (const path of Object.keys(files).sort()) {
      const target = join(building, ...path.split('/'));
      await mkdir(dirname(target), { recursive: true });
      const content = files[path]!;
      if (typeof content === 'object' && 'from' in content) await copyFile(content.from, target);
      else await writeFile(target, content);
      listed[path] = await digestFile(target);
    }
    const complete: BundleManifest = BundleManifestShape.parse({
      format: 'larr-bundle',
      version: 1,
      ...manifest,
      createdAt: manifest.createdAt ?? new Date().toISOString(),
      files: listed,
    });
    await writeFile(join(building, 'manifest.json'), `${JSON.stringify(complete, null, 2)}\n`);
    return complete;
  });
}

/**
 * Opens a bundle after checking all of it: the manifest's shape and version, every file's presence, size and sha256, and that
 * nothing else lies in the directory.
 * @param later files whose sha256 is taken by a thread while the caller goes on, who must wait for `whole` before trusting what was read of them
 * @throws BundleError `BUNDLE_MISSING`, `BUNDLE_CORRUPT`, `BUNDLE_VERSION`, `BUNDLE_FILE_MISSING`, `BUNDLE_FILE_CHANGED`, `BUNDLE_FILE_UNKNOWN`
 */
export async function openBundle(directory: string, later: (path: string) => boolean = () => false): Promise<Bundle> {
  const manifestFile = join(directory, 'manifest.json');
  let text: string;
  try {
    text = await readFile(manifestFile, 'utf8');
  } catch (cause) {
    throw new BundleError(
      'BUNDLE_MISSING',
      `${directory} is not a bundle: it has no manifest.json. Make one with "larr export".`,
      { file: manifestFile, cause },
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new BundleError(
      'BUNDLE_CORRUPT',
      `${manifestFile} is not JSON: it is cut off or damaged. Export the bundle again.`,
      { file: manifestFile, cause },
    );
  }
  const { format, version } = (value ?? {}) as { format?: unknown; version?: unknown };
  if (format !== 'larr-bundle')
    throw new BundleError('BUNDLE_CORRUPT', `${manifestFile} is not the manifest of a bundle.`, { file: manifestFile });
  if (version !== 1) {
    throw new BundleError(
      'BUNDLE_VERSION',
      `${directory} is a bundle of version ${String(version)}; this program reads version 1. Export it again, or use the program it was made for.`,
      {
        file: manifestFile,
        field: 'version',
      },
    );
  }
  const parsed = BundleManifestShape.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new BundleError(
      'BUNDLE_CORRUPT',
      `${manifestFile}: ${issue.path.join('.')}: ${issue.message}. Export the bundle again.`,
      {
        file: manifestFile,
        field: issue.path.join('.'),
      },
    );
  }
  const manifest = parsed.data;
  const changed = (path: string, why: string): BundleError =>
    new BundleError(
      'BUNDLE_FILE_CHANGED',
      `${path} of the bundle ${directory} is not what the manifest says (${why}). Copy it again, or export it again.`,
      { file: join(directory, ...path.split('/')) },
    );
  const apart: string[] = [];
  for (const [path, expected] of Object.entries(manifest.files)) {
    checkPath(path);
    const file = join(directory, ...path.split('/'));
    const info = await stat(file).catch((cause) => {
      throw new BundleError(
        'BUNDLE_FILE_MISSING',
        `The bundle ${directory} lacks ${path}. Copy it again, or export it again.`,
        { file, cause },
      );
    });
    if (info.size !== expected.bytes) throw changed(path, `${info.size} bytes instead of ${expected.bytes}`);
    if (later(path)) apart.push(path);
    else if ((await digestFile(file)).sha256 !== expected.sha256) throw changed(path, SHA256_DIFFERS);
  }
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory()) continue;
    const path = relative(directory, join(entry.parentPath, entry.name)).split(sep).join('/');
    if (path !== 'manifest.json' && manifest.files[path] === undefined) {
      throw new BundleError(
        'BUNDLE_FILE_UNKNOWN',
        `The bundle ${directory} holds ${path}, which its manifest does not list. Remove it, or export the bundle again.`,
        {
          file: join(directory, path),
        },
      );
    }
  }
  const path = (file: string): string => {
    if (manifest.files[file] === undefined)
      throw new BundleError('BUNDLE_FILE_MISSING', `The bundle ${directory} has no ${file}.`, { file });
    return join(directory, ...file.split('/'));
  };
  const whole =
    apart.length === 0
      ? Promise.resolve()
      : digestsApart(apart.map(path)).then((digests) => {
          const other = apart.find((file, i) => digests[i] !== manifest.files[file]!.sha256);
          if (other !== undefined) throw changed(other, SHA256_DIFFERS);
        });
  // It is the caller's to wait for; until then nobody has to hear of it.
  whole.catch(() => {});
  return {
    directory,
    manifest,
    whole,
    path,
    async json<T>(file: string): Promise<T> {
      const content = await readFile(path(file), 'utf8');
      try {
        return JSON.parse(content) as T;
      } catch (cause) {
        throw new BundleError('BUNDLE_CORRUPT', `${file} of the bundle ${directory} is not JSON.`, { file, cause });
      }
    },
  };
}

const SHA256_DIFFERS = 'its sha256 differs';

function checkPath(path: string): void {
  if (
    path === '' ||
    path === 'manifest.json' ||
    posix.normalize(path) !== path ||
    path.startsWith('../') ||
    path.startsWith('/') ||
    path.includes('\\')
  ) {
    throw new BundleError('BUNDLE_PATH', `"${path}" is not a valid path inside a bundle.`, { file: path });
  }
}

/** SHA-256 of files, by a thread of its own. */
function digestsApart(files: readonly string[]): Promise<string[]> {
  // A worker is always the built file: threads do not load TypeScript, also where tests run this module from its source.
  const worker = new Worker(createRequire(import.meta.url).resolve('@larr/core/digest-worker'), { workerData: files });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`the thread that checks a bundle ended with code ${code}`)));
  });
}
