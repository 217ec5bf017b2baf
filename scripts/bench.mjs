// `pnpm bench [name …] [--json]`: ours and the peer measured in turn in one run. Each bench is a module with an async
// generator `run()` that yields rows of {bench, case, ours, peer, peerValue, unit, ratio, memory}; ratio > 1: ours is better.
// memory: {ours, peer}, bytes, null where the system does not tell (bench-memory.mjs): the peak over what was there before the call, of `serve`
// the peak of the server's process.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './setup.mjs';

const benches = {
  infonce: 'packages/native-cuda/bench/infonce.mjs',
  encoder: 'packages/native-cuda/bench/encoder.mjs',
  train: 'packages/trainer/bench/train.mjs',
  loader: 'packages/core/bench/loader.mjs',
  lm: 'packages/trainer/bench/lm.mjs',
  serve: 'packages/trainer/bench/serve.mjs',
};
const available = Object.keys(benches).filter((name) => existsSync(join(root, benches[name])));

function usage(message) {
  process.stderr.write(`bench: ${message}\nusage: pnpm bench [${available.join('|')} …] [--json]\n`);
  process.exit(2);
}

let parsed;
try {
  parsed = parseArgs({ allowPositionals: true, options: { json: { type: 'boolean', default: false } } });
} catch (error) {
  usage(error.message);
}
const names = parsed.positionals.length > 0 ? parsed.positionals : available;
for (const name of names) if (!available.includes(name)) usage(`there is no bench "${name}"`);

const pad = (text, width) => String(text).padEnd(width);
const megabytes = (bytes) => (bytes === null ? '?' : (bytes / 1e6).toPrecision(3));
const figure = (value) => (value >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(4));
if (!parsed.values.json)
  process.stdout.write(
    `${pad('bench', 9)}${pad('case', 44)}${pad('ours', 14)}${pad('peer', 14)}${pad('its figure', 14)}${pad('unit', 13)}${pad('ratio', 8)}MB ours / peer\n`,
  );
for (const name of names) {
  const { run } = await import(join(root, benches[name]));
  for await (const row of run()) {
    if (parsed.values.json) process.stdout.write(`${JSON.stringify(row)}\n`);
    else {
      const where = Object.entries(row.case)
        .map(([key, value]) => `${key}=${value}`)
        .join(' ');
      process.stdout.write(
        `${pad(row.bench, 9)}${pad(where, 44)}${pad(figure(row.ours), 14)}${pad(row.peer, 14)}${pad(figure(row.peerValue), 14)}${pad(row.unit, 13)}${pad(row.ratio.toFixed(2), 8)}${megabytes(row.memory.ours)} / ${megabytes(row.memory.peer)}\n`,
      );
    }
  }
}
