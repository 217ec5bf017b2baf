#!/usr/bin/env node
// Finds the LibTorch to build and run against. Used by CMakeLists.txt (--cmake), by the root set-up and by `larr doctor`.
//
// In this order:
//   1. LIBTORCH=<directory>        a directory with include/ and lib/ (a LibTorch archive, or a torch wheel's directory)
//   2. LIBTORCH_USE_PYTORCH=1      the torch package of python3
//   3. <repository>/.libtorch/torch, fetched once by the root set-up
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const repositoryRoot = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

/** The oldest LibTorch this package compiles against. */
export const oldestVersion = '2.8';

/**
 * @typedef {object} LibTorch
 * @property {string} directory   holds include/ and lib/
 * @property {string} version     e.g. "2.13.0"
 * @property {boolean} cuda       whether its CUDA libraries are there
 * @property {0 | 1} cxx11Abi     value for _GLIBCXX_USE_CXX11_ABI
 * @property {string | null} openmp   the OpenMP runtime that comes with it, which our code must share
 * @property {'LIBTORCH' | 'LIBTORCH_USE_PYTORCH' | '.libtorch'} source
 */

/**
 * Where LibTorch is; null when nothing names one and none was fetched yet.
 * @param {{ root?: string, env?: NodeJS.ProcessEnv }} [options]
 * @returns {LibTorch | null}
 * @throws {Error} when the one named, or fetched, is not usable; the message says what to do
 */
export function findLibTorch({ root = repositoryRoot, env = process.env } = {}) {
  if (env.LIBTORCH) return inspect(path.resolve(env.LIBTORCH), 'LIBTORCH');
  if (env.LIBTORCH_USE_PYTORCH && env.LIBTORCH_USE_PYTORCH !== '0') {
    return inspect(askPython(), 'LIBTORCH_USE_PYTORCH');
  }
  const fetched = path.join(root, '.libtorch/torch');
  return existsSync(fetched) ? inspect(fetched, '.libtorch') : null;
}

function askPython() {
  try {
    // find_spec alone: importing torch takes seconds.
    const code = 'import importlib.util,os; print(os.path.dirname(importlib.util.find_spec("torch").origin))';
    return execFileSync('python3', ['-c', code], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    throw new Error(
      'LIBTORCH_USE_PYTORCH is set, but python3 has no torch package. Install it, or unset LIBTORCH_USE_PYTORCH.',
    );
  }
}

/**
 * @param {string} directory
 * @param {LibTorch['source']} source
 * @returns {LibTorch}
 */
function inspect(directory, source) {
  const lib = path.join(directory, 'lib');
  for (const needed of ['include/ATen/ATen.h', 'lib/libc10.so', 'lib/libtorch_cpu.so']) {
    if (!existsSync(path.join(directory, needed))) {
      throw new Error(`${directory} (from ${source}) is no LibTorch: ${needed} is missing.`);
    }
  }
  const version = readVersion(directory);
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = oldestVersion.split('.').map(Number);
  if (major < oldestMajor || (major === oldestMajor && minor < oldestMinor)) {
    throw new Error(
      `LibTorch ${version} in ${directory} (from ${source}) is too old: ${oldestVersion} or newer is needed.`,
    );
  }
  const openmp = [lib, path.join(path.dirname(directory), 'torch.libs')]
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((name) => path.join(folder, name)))
    .find((file) => /^libgomp[^/]*\.so[.\d]*$/.test(path.basename(file)));
  return {
    directory,
    version,
    cuda: existsSync(path.join(lib, 'libtorch_cuda.so')) && existsSync(path.join(lib, 'libc10_cuda.so')),
    // The mangled names of the new string ABI are in c10 exactly when it was built with it.
    cxx11Abi: readFileSync(path.join(lib, 'libc10.so')).includes('NSt7__cxx1112basic_string') ? 1 : 0,
    openmp: openmp ?? null,
    source,
  };
}

/** @param {string} directory */
function readVersion(directory) {
  for (const header of ['include/torch/headeronly/version.h', 'include/torch/csrc/api/include/torch/version.h']) {
    const file = path.join(directory, header);
    if (!existsSync(file)) continue;
    const text = readFileSync(file, 'utf8');
    const part = (/** @type {string} */ name) => new RegExp(`define TORCH_VERSION_${name} (\\d+)`).exec(text)?.[1];
    if (part('MAJOR')) return `${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}`;
  }
  throw new Error(`${directory} has no torch/version.h: it is no LibTorch that this package knows.`);
}

if (process.argv[1] && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    const found = findLibTorch();
    if (!found) {
      throw new Error(
        'LibTorch was not found. `npm run setup` fetches it; or set LIBTORCH to a directory with include/ and lib/, ' +
          'or LIBTORCH_USE_PYTORCH=1 to use the torch package of python3.',
      );
    }
    // A CMake list: directory;version;cuda;abi;openmp
    const asCmake = [
      found.directory,
      found.version,
      found.cuda ? 'ON' : 'OFF',
      found.cxx11Abi,
      found.openmp ?? '',
    ].join(';');
    process.stdout.write(process.argv.includes('--cmake') ? asCmake : `${JSON.stringify(found, null, 2)}\n`);
  } catch (error) {
    process.stderr.write(`${/** @type {Error} */ (error).message}\n`);
    process.exitCode = 1;
  }
}
