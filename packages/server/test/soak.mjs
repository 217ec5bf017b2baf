// A server under mixed load for a while, with things going wrong around it:
//   node packages/server/test/soak.mjs --bundle DIR [--other DIR] [--minutes 10] [--rate 60] [--seed 1]
// The bundle is reloaded (--other: in turn with another), reloads that must fail are tried, keys come and go, a client sends garbage, connections are dropped half-way,
// Redis is killed and started again (where redis-server is installed), and at the end the server is killed with SIGKILL. Prints a JSON verdict and exits 1 where an
// answer was wrong, the server went away, an acknowledged event is not in the log exactly once, or memory grew.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { random } from './fuzz/random.mjs';
import { runServerProgram, serverOptions, startServer } from './server-program.mjs';
import { api } from './soak/api.mjs';
import { eventLoad, loggedIds } from './soak/events.mjs';
import { garbage } from './soak/garbage.mjs';
import { sampleMemory, steady } from './soak/memory.mjs';
import { knownAnswers, rankLoad } from './soak/ranking.mjs';
import { startRedis } from './soak/redis.mjs';

const { values } = parseArgs({
  options: {
    bundle: { type: 'string' },
    other: { type: 'string' },
    minutes: { type: 'string', default: '10' },
    rate: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    log: { type: 'string' },
  },
});
if (values.bundle === undefined) {
  process.stderr.write('soak.mjs: --bundle DIR is missing\n');
  process.exit(2);
}
const seconds = Number(values.minutes) * 60;
const { one, between } = random(Number(values.seed));
const say = (text) => process.stderr.write(`soak: ${text}\n`);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const directory = mkdtempSync(join(tmpdir(), 'larr-soak-'));
const bundles = join(directory, 'bundles');
mkdirSync(bundles);
cpSync(values.bundle, join(bundles, 'a'), { recursive: true });
cpSync(values.other ?? values.bundle, join(bundles, 'b'), { recursive: true });
if (values.other === undefined) {
  // Of the same model, but a bundle of its own: its name is the digest of its manifest.
  const manifest = join(bundles, 'b', 'manifest.json');
  writeFileSync(manifest, `${readFileSync(manifest, 'utf8').trimEnd()}\n\n`);
}
cpSync(join(bundles, 'a'), join(bundles, 'broken'), { recursive: true });
writeFileSync(join(bundles, 'broken', 'ranker.onnx'), 'no graph');

const keyFile = join(directory, 'keys.json');
const newKey = (name, scopes) =>
  runServerProgram(['keys', 'add', '--keys', keyFile, '--name', name, '--scopes', scopes]);
const key = await newKey('soak', 'rank,events,read,admin');
const redis = (await serverOptions()).has('--store') ? await startRedis(directory) : null;
const options = [
  ...['--bundle', join(bundles, 'a'), '--bundles', bundles, '--port', '0', '--keys', keyFile],
  ...['--events', join(directory, 'events'), '--rate-per-address', '200', '--log-level', 'warn'],
  ...(redis === null ? [] : ['--store', redis.url]),
];
let server = await startServer(options, values.log);
let expected = true;
const crashes = [];
const watch = ({ exited }) => exited.then(([code, signal]) => expected || crashes.push({ code, signal }));
expected = false;
void watch(server);
const call = api(server.url, key);
say(`${server.url}, ${seconds} s${redis === null ? '' : ', with Redis'}`);

const problems = [];
const wrong = (what, detail) => {
  if (problems.length < 20) problems.push({ what, detail });
  counts.problems++;
};
const counts = { problems: 0, reloads: 0, refusedReloads: 0, rollbacks: 0, redisKills: 0, keys: 0 };

// What each bundle answers, asked in peace.
const known = await knownAnswers(call, random(Number(values.seed) + 1), ['a', 'b'], redis);
await call('POST', '/v1/admin/reload', { bundle: 'a' });

const end = performance.now() + seconds * 1000;
const over = () => performance.now() >= end || crashes.length > 0;
const memory = [];
const ranking = rankLoad({
  call,
  known,
  rate: Number(values.rate),
  over,
  wrong,
  random: random(Number(values.seed) + 2),
});
const events = eventLoad({ call, over, wrong, random: random(Number(values.seed) + 3) });
const noise = garbage({ url: server.url, key, over, wrong, random: random(Number(values.seed) + 4) });

async function reloads() {
  for (let next = 'b'; !over(); next = next === 'a' ? 'b' : 'a') {
    await sleep(Math.min(10_000, (seconds * 1000) / 6));
    if (over()) return;
    const reply = await call('POST', '/v1/admin/reload', { bundle: next });
    if (reply.status !== 200) wrong('a good bundle was not loaded', reply);
    counts.reloads++;
    if (counts.reloads % 2 === 0) {
      const broken = await call('POST', '/v1/admin/reload', { bundle: one(['broken', 'nowhere', '../events']) });
      if (broken.status < 400 || broken.status >= 500) wrong('a bad bundle was not refused', broken);
      counts.refusedReloads++;
    }
    if (counts.reloads % 3 === 0) {
      const back = await call('POST', '/v1/admin/rollback', {});
      if (back.status !== 200) wrong('no rollback', back);
      counts.rollbacks++;
    }
  }
}

async function keys() {
  while (!over()) {
    await sleep(Math.min(15_000, (seconds * 1000) / 4));
    if (over()) return;
    const other = await newKey('guest', 'rank');
    await sleep(2500);
    const guest = api(server.url, other);
    const question = { user: 'u', candidates: ['p'] };
    const good = await guest('POST', '/v1/rank', question);
    if (![200, 503].includes(good.status)) wrong('a new key is not known', good);
    await runServerProgram(['keys', 'revoke', '--keys', keyFile, other.slice(5, 15)]);
    await sleep(2500);
    const revoked = await guest('POST', '/v1/rank', question);
    if (![401, 429].includes(revoked.status)) wrong('a revoked key is good', revoked);
    counts.keys++;
  }
}

async function redisTrouble() {
  while (redis !== null && !over()) {
    await sleep(Math.min(20_000, (seconds * 1000) / 4));
    if (over()) return;
    await redis.kill();
    known.storeWentAway();
    await sleep(between(1000, 5000));
    await redis.start();
    known.storeCameBack();
    counts.redisKills++;
  }
}

const sampling = sampleMemory({ call, into: memory, over });
await Promise.all([ranking.done, events.done, noise.done, reloads(), keys(), redisTrouble(), sampling]);
say('load is over');

// In peace again, every answer has to be as at first.
if (redis !== null) await sleep(5000);
if (crashes.length === 0) {
  await call('POST', '/v1/admin/reload', { bundle: 'a' });
  for (const question of known.questions) await ranking.ask(question, true);
}

// The power goes, while events are being written.
expected = true;
const last = eventLoad({ call, over: () => false, wrong: () => {}, random: random(Number(values.seed) + 5) });
await sleep(300);
server.child.kill('SIGKILL');
await server.exited;
last.stop();
await last.done;
const acknowledged = [...events.acknowledged, ...last.acknowledged];
expected = false;
server = await startServer(options, values.log);
void watch(server);
const again = api(server.url, key);
const newest = acknowledged.slice(-500);
const resent = await again('POST', '/v1/events', { events: newest.map((id) => events.eventOf(id)) });
if (resent.body?.duplicates !== newest.length) wrong('events were forgotten over the restart', resent.body);
expected = true;
server.child.kill('SIGTERM');
const [code] = await server.exited;
if (code !== 0) wrong('the server did not stop cleanly', { code });

const ids = loggedIds(join(directory, 'events'));
const lost = acknowledged.filter((id) => !ids.has(id));
const twice = acknowledged.filter((id) => (ids.get(id) ?? 0) > 1);
const rss = steady(memory);
const ranked = ranking.result();
if (ranked.storeSlow > 0.02 * (ranked.right + ranked.degraded)) wrong('the store is there and is not used', ranked);
const ok = counts.problems === 0 && crashes.length === 0 && lost.length === 0 && twice.length === 0 && rss.flat;
const verdict = {
  ok,
  seconds,
  seed: Number(values.seed),
  redis: redis !== null,
  ...counts,
  ranking: ranked,
  events: { acknowledged: acknowledged.length, lost: lost.length, twice: twice.length },
  garbage: noise.result(),
  crashes,
  memory: rss,
  problems,
};
process.stdout.write(`${JSON.stringify(verdict, null, 2)}\n`);
await redis?.kill();
rmSync(directory, { recursive: true, force: true });
process.exitCode = ok ? 0 : 1;
