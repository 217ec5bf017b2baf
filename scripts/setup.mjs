// Brings a fresh clone to a state in which `larr`, the tests and the benchmarks run, and does only what is missing:
// pnpm, the npm packages, LibTorch, the TypeScript builds and the native builds. Plain Node, because nothing is
// installed yet when it starts. All output goes to stderr; stdout belongs to the command that is run afterwards.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const PNPM_VERSION = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).packageManager.split('@')[1];
const TORCH_VERSION = '2.13.0';
const tools = join(root, '.tools');
const stamps = join(root, '.cache', 'setup');

/** Ends the program with one line that names what is missing and how to get it. */
function missing(what, how) {
  process.stderr.write(`larr: ${what}. ${how}\n`);
  process.exit(1);
}

function say(line) {
  process.stderr.write(`larr: ${line}\n`);
}

/** Runs a program to its end; its output is shown only when it fails. */
function quietly(program, args, failure, env = {}) {
  const done = spawnSync(program, args, {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (done.status !== 0) {
    process.stderr.write(done.stdout ?? '');
    process.stderr.write(done.stderr ?? '');
    missing(failure, done.error ? String(done.error.message) : 'The output above says why.');
  }
}

function version(program, args = ['--version']) {
  const done = spawnSync(program, args, { encoding: 'utf8' });
  if (done.error || done.status !== 0) return null;
  const match = /(\d+)\.(\d+)(?:\.(\d+))?/.exec(`${done.stdout}${done.stderr}`);
  return match ? [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)] : [0, 0, 0];
}

function atLeast(found, wanted) {
  for (let i = 0; i < wanted.length; i++) {
    if (found[i] !== wanted[i]) return found[i] > wanted[i];
  }
  return true;
}

function checkNode() {
  const found = process.versions.node.split('.').map(Number);
  if (!atLeast(found, [20, 17]))
    missing(`Node ${process.versions.node} is too old`, 'Install Node 20.17 or newer (https://nodejs.org).');
}

function checkCompilers() {
  const compiler = process.env.CXX ?? 'c++';
  const probe = spawnSync(compiler, ['-std=c++20', '-x', 'c++', '-fsyntax-only', '-'], {
    input: '#include <concepts>\n#include <span>\nint main() { return 0; }\n',
    encoding: 'utf8',
  });
  if (probe.error)
    missing(
      `no C++ compiler ("${compiler}") was found`,
      'Install g++ 11 or newer (Debian, Ubuntu: apt-get install g++) or set CXX.',
    );
  if (probe.status !== 0)
    missing(
      `the C++ compiler "${compiler}" does not know C++20`,
      'Install g++ 11 or newer, or clang 14 or newer, and set CXX to it.',
    );
  const cmake = version('cmake');
  if (!cmake) missing('CMake was not found', 'Install CMake 3.24 or newer (Debian, Ubuntu: apt-get install cmake).');
  if (!atLeast(cmake, [3, 24]))
    missing(`CMake ${cmake.join('.')} is too old`, 'Install CMake 3.24 or newer (https://cmake.org/download).');
  if (!version('make') && !version('ninja'))
    missing('neither make nor ninja was found', 'Install one (Debian, Ubuntu: apt-get install make).');
}

/** The folder of the pnpm this project pins, fetched once into .tools/. */
function ensurePnpm() {
  const bin = join(tools, 'node_modules', '.bin');
  const manifest = join(tools, 'node_modules', 'pnpm', 'package.json');
  if (!existsSync(manifest) || JSON.parse(readFileSync(manifest, 'utf8')).version !== PNPM_VERSION) {
    say(`fetching pnpm ${PNPM_VERSION}`);
    mkdirSync(tools, { recursive: true });
    quietly(
      'npm',
      ['install', '--prefix', tools, '--no-save', '--no-fund', '--no-audit', `pnpm@${PNPM_VERSION}`],
      'pnpm could not be fetched',
    );
  }
  return bin;
}

function digest(files) {
  const hash = createHash('sha256');
  for (const file of files)
    hash
      .update(file)
      .update('\0')
      .update(readFileSync(join(root, file)))
      .update('\0');
  return hash.digest('hex');
}

function manifests() {
  const packages = readdirSync(join(root, 'packages')).map((name) => `packages/${name}/package.json`);
  return ['package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml', 'test/package.json', ...packages].filter((file) =>
    existsSync(join(root, file)),
  );
}

function ensurePackages() {
  const stamp = join(stamps, 'packages');
  const wanted = digest(manifests());
  if (existsSync(join(root, 'node_modules')) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  say('installing npm packages');
  quietly(
    'pnpm',
    ['install', '--frozen-lockfile', '--prefer-offline'],
    'the npm packages could not be installed',
    // The CUDA provider of onnxruntime-node is fetched by a script of its own, which nothing here needs.
    { ONNXRUNTIME_NODE_INSTALL_CUDA: 'skip', CI: 'true' },
  );
  mkdirSync(stamps, { recursive: true });
  writeFileSync(stamp, wanted);
}

/** LibTorch from LIBTORCH, PyTorch's own (LIBTORCH_USE_PYTORCH=1), or fetched once into .libtorch/. */
async function ensureLibTorch() {
  const { findLibTorch } = await import('../packages/torch/scripts/find-libtorch.mjs');
  if (findLibTorch()) return;
  const python = ['python3', 'python'].find((name) => version(name, ['-m', 'pip', '--version']));
  if (!python)
    missing(
      'LibTorch was not found, and Python 3 with pip, which would fetch it, is not there',
      'Install them (Debian, Ubuntu: apt-get install python3-pip) or set LIBTORCH to an unpacked LibTorch.',
    );
  say(`fetching LibTorch ${TORCH_VERSION} (about 200 MB, once)`);
  const target = join(root, '.libtorch');
  const partial = `${target}.partial`;
  rmSync(partial, { recursive: true, force: true });
  quietly(
    python,
    [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--disable-pip-version-check',
      '--retries',
      '1',
      '--no-deps',
      '--no-compile',
      '--target',
      partial,
      `torch==${TORCH_VERSION}`,
    ],
    'LibTorch could not be fetched',
  );
  rmSync(target, { recursive: true, force: true });
  renameSync(partial, target);
  if (!findLibTorch()) missing('the LibTorch that was fetched is not usable', 'Set LIBTORCH to an unpacked LibTorch.');
}

/** A build folder of CMake's knows its own path: after the project was moved or copied it is made anew. */
function dropMovedBuilds() {
  for (const name of ['native-cuda', 'torch']) {
    const folder = join(root, 'packages', name);
    const cache = join(folder, 'build', 'CMakeCache.txt');
    if (!existsSync(cache)) continue;
    const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1];
    if (home !== folder) rmSync(join(folder, 'build'), { recursive: true, force: true });
  }
}

function build(native) {
  if (native) dropMovedBuilds();
  const quick = existsSync(join(root, 'packages', 'torch', native ? 'build' : 'dist'));
  if (!quick) say(native ? 'building (about two minutes the first time)' : 'building');
  quietly(
    'turbo',
    ['run', 'build', ...(native ? ['build:native'] : []), '--output-logs=errors-only', '--no-update-notifier'],
    'the build failed',
    {
      TURBO_TELEMETRY_DISABLED: '1',
      // Addons know where LibTorch lies: one built elsewhere is not taken from the cache.
      LARR_ROOT: root,
      // Nor one built without MPI where there is MPI now, or another one.
      LARR_MPI: spawnSync('mpicxx', ['-show'], { encoding: 'utf8' }).stdout ?? '',
    },
  );
}

/**
 * Sets everything up; afterwards PATH holds the project's own tools.
 * @param native false leaves out what needs a compiler and LibTorch: for what only looks and tells
 */
export async function setup({ native = true } = {}) {
  checkNode();
  process.env.PATH = [join(root, 'node_modules', '.bin'), ensurePnpm(), process.env.PATH].join(delimiter);
  if (native) checkCompilers();
  ensurePackages();
  if (native) await ensureLibTorch();
  build(native);
}
