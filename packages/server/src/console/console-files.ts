import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, extname, join, relative, sep } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, gzip } from 'node:zlib';

/** Encodings, the better first. */
export const ENCODINGS = ['br', 'gzip'] as const;
export type Encoding = (typeof ENCODINGS)[number];

/** A file of the built console, ready to be sent. */
export interface ConsoleFile {
  type: string;
  body: Buffer;
  /** the body as an encoding's name in Accept-Encoding has it, packed when first asked for; null where it does not get smaller */
  packed: (encoding: Encoding) => Promise<Buffer | null>;
  etag: string;
  /** its name changes with its content */
  immutable: boolean;
}

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** Where the console's build lies; null where the package is not there or has not been built. */
export function consoleDirectory(): string | null {
  try {
    const manifest = createRequire(import.meta.url).resolve('@larr/console/package.json');
    const dist = join(dirname(manifest), 'dist');
    return existsSync(join(dist, 'index.html')) ? dist : null;
  } catch {
    return null;
  }
}

/** Reads the whole build into memory, a few hundred kilobytes: a request then touches no file system and no path of a request reaches one. */
export async function readConsole(directory: string): Promise<Map<string, ConsoleFile>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = new Map<string, ConsoleFile>();
  for (const entry of entries) {
    const type = TYPES[extname(entry.name)];
    if (!entry.isFile() || type === undefined) continue;
    const path = join(entry.parentPath, entry.name);
    const name = relative(directory, path).split(sep).join('/');
    const body = await readFile(path);
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
    files.set(name, { type, body, packed: packer(body, type), etag, immutable: name.startsWith('assets/') });
  }
  return files;
}

/** Packs a body once for each encoding. Fonts are packed already. */
function packer(body: Buffer, type: string): ConsoleFile['packed'] {
  const packed = new Map<Encoding, Promise<Buffer | null>>();
  const smaller = (result: Buffer): Buffer | null => (result.length < body.length ? result : null);
  return async (encoding) => {
    if (type.startsWith('font/')) return null;
    let found = packed.get(encoding);
    if (found === undefined) {
      found = (encoding === 'br' ? promisify(brotliCompress)(body) : promisify(gzip)(body)).then(smaller);
      packed.set(encoding, found);
    }
    return found;
  };
}
