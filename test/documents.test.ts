// What the documents say of the command line is what there is.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
// @ts-expect-error: the built file, which has no types of its own here
import { configurationDocument } from '../packages/trainer/dist/cli/configuration-document.js';
import { root } from './larr.js';

const program = join(root, 'packages', 'trainer', 'bin', 'larr.mjs');
const help = (...args: string[]) => execFileSync(process.execPath, [program, ...args, '--help'], { encoding: 'utf8' });
const commands = [...help().matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name!).filter((name) => name !== 'help');
const documents = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => join('docs', name))].filter((file) =>
  file.endsWith('.md'),
);
const read = (file: string) => readFileSync(join(root, file), 'utf8');

test('docs/configuration.md is what the schemas say', () => {
  // After a change: node packages/trainer/scripts/write-configuration-document.mjs
  expect(read('docs/configuration.md')).toBe(configurationDocument());
});

test('the commands of docs/architecture.md are those of the program', () => {
  const listed = /- `larr` commands:([\s\S]*?)`doctor`\./.exec(read('docs/architecture.md'))![1]!;
  const named = [...listed.matchAll(/`([a-z]+)/g)].map(([, name]) => name!).concat('doctor');
  expect(named.sort()).toEqual([...commands].sort());
});

test('the options that docs/architecture.md gives each command are those it takes', () => {
  const rows = [...read('docs/architecture.md').matchAll(/^ *\| ((?:`[a-z]+`(?:, )?)+) \|([^|]*)\|/gm)];
  const told = new Map(
    rows.flatMap(([, names, options]) =>
      [...names!.matchAll(/`([a-z]+)`/g)].map(([, name]) => [
        name!,
        [...options!.matchAll(/`--([a-z]+)`/g)].map(([, option]) => option!).sort(),
      ]),
    ),
  );
  expect([...told.keys()].sort()).toEqual([...commands].sort());
  const shared = ['config', 'out', 'seed', 'device', 'threads'];
  for (const command of commands) {
    const text = help(command);
    const taken = shared.filter((option) => new RegExp(`^ {2}--${option} `, 'm').test(text)).sort();
    expect([command, taken]).toEqual([command, told.get(command)]);
  }
  // It starts the program once for each command.
}, 60_000);

test.each(documents)('the files that %s names are there', (file) => {
  const text = read(file);
  const linked = [...text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(([, path]) => join(dirname(file), path!));
  const named = [...text.matchAll(/\bdocs\/[\w-]+\.md\b/g)].map(([path]) => path);
  for (const path of [...linked, ...named])
    expect([file, path, existsSync(join(root, path))]).toEqual([file, path, true]);
});
