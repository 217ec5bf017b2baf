// The programs where something of LARR is not built: a copy of the tree, without the native addons, then without TypeScript's output.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root, temporaryDirectory } from './larr.js';

const copy = temporaryDirectory();
beforeAll(() => {
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  for (const name of ['core', 'native-cuda', 'torch', 'server', 'console', 'trainer']) {
    const [from, to] = [join(root, 'packages', name), join(copy, 'packages', name)];
    mkdirSync(to, { recursive: true });
    for (const part of ['package.json', 'start.mjs', 'bin', 'dist', 'node_modules'])
      if (existsSync(join(from, part)))
        cpSync(join(from, part), join(to, part), { recursive: true, verbatimSymlinks: true });
  }
});
afterAll(() => rmSync(copy, { recursive: true, force: true }));

const run = (file: string, ...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(copy, 'packages', file), ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
};
const larr = (...args: string[]) => run('trainer/bin/larr.mjs', ...args);
const server = (...args: string[]) => run('server/bin/larr-server.mjs', ...args);
const STACK = /^\s+at /m;

it('help needs no native addon', () => {
  expect(larr('--help')).toMatchObject({ status: 0, stdout: expect.stringContaining('doctor'), stderr: '' });
  expect(larr('train', '--help')).toMatchObject({ status: 0, stderr: '' });
  expect(server('--help')).toMatchObject({ status: 0, stderr: expect.stringContaining('--bundle DIR') });
}, 60_000);

it('doctor says which addons are missing, and how each is built', () => {
  const { status, stderr } = larr('doctor');
  expect(status).toBe(1);
  for (const folder of ['packages/torch', 'packages/native-cuda'])
    expect(stderr).toMatch(
      new RegExp(
        `MISSING: the native addon of ${folder} is not built: run .npm run setup.*pnpm -C ${folder} build:native`,
      ),
    );
  expect(stderr).not.toMatch(STACK);
}, 60_000);

it('a part whose TypeScript is not built is named in a line, with what to do', () => {
  rmSync(join(copy, 'packages', 'torch', 'dist'), { recursive: true });
  expect(larr('doctor')).toMatchObject({ status: 1, stderr: expect.stringContaining('packages/torch is not built') });
  rmSync(join(copy, 'packages', 'core', 'dist'), { recursive: true });
  for (const { status, stdout, stderr } of [larr('--help', '--json'), server('--help', '--json')]) {
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'NOT_BUILT' } });
    expect(stderr).toMatch(/core\/dist\/index\.js is missing\. Run `npm run setup`/);
    expect(stderr).not.toMatch(STACK);
  }
}, 60_000);
