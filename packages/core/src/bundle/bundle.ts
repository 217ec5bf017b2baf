import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join, posix, relative, sep } from 'node:path';
import { z } from 'zod';
import type { CategoricalSpec, DenseSpec, SceneFieldSpec, SequenceSpec } from '../dataset/manifest.js';
import { BundleError } from '../errors.js';
import { buildDirectoryAtomic } from '../files/atomic.js';
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

/** A bundle whose every file matches its manifest. */
export interface Bundle {
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
 * @throws BundleError `BUNDLE_MISSING`, `BUNDLE_CORRUPT`, `BUNDLE_VERSION`, `BUNDLE_FILE_MISSING`, `BUNDLE_FILE_CHANGED`, `BUNDLE_FILE_UNKNOWN`
 */
export async function openBundle(directory: string): Promise<Bundle> {
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
    const found = info.size === expected.bytes ? await digestFile(file) : null;
    if (found?.sha256 !== expected.sha256) {
      throw new BundleError(
        'BUNDLE_FILE_CHANGED',
        `${path} of the bundle ${directory} is not what the manifest says (${info.size === expected.bytes ? 'its sha256 differs' : `${info.size} bytes instead of ${expected.bytes}`}). Copy it again, or export it again.`,
        { file },
      );
    }
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
  return {
    directory,
    manifest,
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

async function digestFile(file: string): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of createReadStream(file, { highWaterMark: 1 << 20 })) {
    hash.update(piece as Uint8Array);
    bytes += (piece as Uint8Array).length;
  }
  return { sha256: hash.digest('hex'), bytes };
}
