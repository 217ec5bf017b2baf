import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeDirectory } from './make-directory.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'larr-make-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('making a directory', () => {
  it('makes what is missing, and says from where on', async () => {
    expect(makeDirectory(join(folder, 'a', 'b', '..', 'c'))).toBe(join(folder, 'a'));
    expect(await readdir(join(folder, 'a'))).toEqual(['c']);
    expect(makeDirectory(join(folder, 'a', 'd'))).toBe(join(folder, 'a', 'd'));
    expect(makeDirectory(join(folder, 'a', 'd'))).toBeUndefined();
  });

  it('refuses a place behind a file, or a link that leads nowhere', async () => {
    await writeFile(join(folder, 'file'), '');
    await symlink(join(folder, 'none'), join(folder, 'link'));
    expect(() => makeDirectory(join(folder, 'file'))).toThrow(expect.objectContaining({ code: 'OUT_NOT_A_DIRECTORY' }));
    for (const path of [join(folder, 'file', 'a'), join(folder, 'link'), join(folder, 'link', 'a')])
      expect(() => makeDirectory(path)).toThrow(expect.objectContaining({ code: 'OUT_NOT_WRITABLE' }));
  });

  // In a process of its own: what never ends would not let this one end either.
  it.runIf(existsSync('/proc/self/stat')).each([
    ['a lock', `larr.lockDirectory('/proc/larr-none/a', 'the directory')`],
    ['a file', `larr.writeFileAtomic('/proc/larr-none/a/b', '')`],
    ['a directory that is built', `larr.buildDirectoryAtomic('/proc/larr-none/a', async () => {})`],
    ['a directory that is built there', `larr.buildDirectoryAtomic('/proc/larr-none', async () => {})`],
  ])('ends where a file system takes no directories: %s', async (_, call) => {
    const core = new URL('../../dist/index.js', import.meta.url).href;
    const program = `const larr = await import(${JSON.stringify(core)}); try { await ${call} } catch (e) { console.log(e.code, e.message) }`;
    const said = await new Promise<string>((done, failed) => {
      execFile(
        process.execPath,
        ['--input-type=module', '-e', program],
        { timeout: 20_000, killSignal: 'SIGKILL' },
        (error, out) => (error === null ? done(out) : failed(error)),
      );
    });
    expect(said).toMatch(/^OUT_NOT_WRITABLE .*\/proc\/.*Name another directory/);
  });
});
