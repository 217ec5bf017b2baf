import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, extname, join, relative, sep } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, gzip } from 'node:zlib';

/** A file of the built console, ready to be sent. */
export interface ConsoleFile {
  type: string;
  body: Buffer;
  /** by the name in Accept-Encoding; only where it is smaller */
  encoded: { br?: Buffer; gzip?: Buffer };
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
    const encoded: ConsoleFile['encoded'] = {};
    if (extname(name) !== '.woff2') {
      const [br, zipped] = await Promise.all([promisify(brotliCompress)(body), promisify(gzip)(body)]);
      if (br.length < body.length) encoded.br = br;
      if (zipped.length < body.length) encoded.gzip = zipped;
    }
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
    files.set(name, { type, body, encoded, etag, immutable: name.startsWith('assets/') });
  }
  return files;
}
