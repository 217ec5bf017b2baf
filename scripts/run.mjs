// What `npm run demo`, `npm run larr`, `npm test` and `npm run bench` start: set up what is missing, then run.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

const programs = {
  larr: ['packages/trainer/bin/larr.mjs'],
  test: ['scripts/test.mjs'],
  bench: ['scripts/bench.mjs'],
};

const [task, ...rest] = process.argv.slice(2);
if (task !== 'setup' && !(task in programs)) {
  process.stderr.write(`larr: unknown task "${task ?? ''}". One of: setup, ${Object.keys(programs).join(', ')}.\n`);
  process.exit(2);
}
// `larr doctor` tells what is missing, and help asks for nothing: neither may end because a compiler is not there.
const looksOnly =
  task === 'larr' &&
  (rest.length === 0 || rest[0] === 'doctor' || rest.some((one) => /^(-h|--help|--version|-V)$/.test(one)));
await setup({ native: !looksOnly });
if (task !== 'setup') {
  const [script, ...first] = programs[task];
  // npm changes the working directory to the package root; paths on the command line are the caller's.
  const cwd = process.env.INIT_CWD ?? process.cwd();
  const child = spawn(process.execPath, [join(root, script), ...first, ...rest], {
    // By the end of the channel a server knows that this process is gone, however it ended.
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    cwd,
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  // npm hands a signal to its shell, which dies of it and tells nobody.
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    child.kill('SIGTERM');
  }, 250);
  watch.unref();
  child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
}
