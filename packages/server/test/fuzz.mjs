// Fuzzes a server from its own OpenAPI document:
//   node packages/server/test/fuzz.mjs --bundle DIR [--requests 50000] [--seed 1]
// starts one of its own for that bundle, with everything switched on; --url URL [--key KEY] takes one that runs (its state will be changed). --first N --requests 1
// sends one request of a run again. Prints a JSON verdict; exits 1 where an answer was wrong: a 5xx but the documented 503, a status or a body that the
// document does not have, something of the machine in an answer, or no answer.
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz/fuzz.mjs';
import { runServerProgram, startServer } from './server-program.mjs';

const { values } = parseArgs({
  options: {
    bundle: { type: 'string' },
    url: { type: 'string' },
    key: { type: 'string' },
    requests: { type: 'string', default: '50000' },
    seed: { type: 'string', default: '1' },
    first: { type: 'string', default: '0' },
    log: { type: 'string' },
  },
});
if ((values.bundle === undefined) === (values.url === undefined)) {
  process.stderr.write('fuzz.mjs: either --bundle DIR or --url URL\n');
  process.exit(2);
}

let { url, key } = values;
let server = null;
let directory = null;
if (values.bundle !== undefined) {
  directory = mkdtempSync(join(tmpdir(), 'larr-fuzz-'));
  mkdirSync(join(directory, 'bundles'));
  mkdirSync(join(directory, 'runs'));
  cpSync(values.bundle, join(directory, 'bundles', 'a'), { recursive: true });
  const keys = join(directory, 'keys.json');
  key = await runServerProgram(['keys', 'add', '--keys', keys, '--name', 'fuzz', '--scopes', 'rank,events,read,admin']);
  server = await startServer(
    [
      ...['--bundle', join(directory, 'bundles', 'a'), '--bundles', join(directory, 'bundles'), '--port', '0'],
      ...['--keys', keys, '--events', join(directory, 'events'), '--runs', join(directory, 'runs')],
      ...['--experiments', join(directory, 'experiments.json')],
    ],
    values.log,
  );
  url = server.url;
}

let crashed = false;
void server?.exited.then(() => {
  crashed = true;
});
const verdict = await fuzz({
  url,
  key,
  requests: Number(values.requests),
  seed: Number(values.seed),
  first: Number(values.first),
  progress: (done) => process.stderr.write(`${done}\n`),
});
const ok = verdict.ok && !crashed;
process.stdout.write(`${JSON.stringify({ ...verdict, ok, crashed }, null, 2)}\n`);
if (server !== null) {
  server.child.kill('SIGTERM');
  await server.exited;
  rmSync(directory, { recursive: true, force: true });
}
process.exitCode = ok ? 0 : 1;
