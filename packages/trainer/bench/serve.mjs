// Serving speed: POST /v1/rank with 500 candidates, from a load generator in a second process (packages/server/bench/load.mjs).
//   steady      100 requests/s on a timetable: p50 and p99 of the latency from when each was due, and, on stderr, the share of a request's time that
//               is not ranking (HTTP, JSON, validation); what a server refuses with 503, as one that cannot keep up does after two seconds, is not among them
//   saturation  8 connections that ask again as soon as they are answered: candidates/s
// Peer `onnxruntime`: the same model as one unfused graph, scene encoder included, behind the same HTTP layer (serve/peer-server.mjs). Both give the
// same scores, which is checked first. Ours and the peer take turns; the figure of each is that of its best round, so that a busy machine tells least.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { peakMemory } from '../../../scripts/bench-memory.mjs';
import { CANDIDATES, setting } from './serve/setting.mjs';
import { unfusedGraph } from './serve/unfused-graph.mjs';

const RATE = 100;
const STEADY_SECONDS = 10;
const SATURATION_SECONDS = 8;
const ROUNDS = 3;
const THREADS = Math.min(8, availableParallelism());
const serverDirectory = dirname(createRequire(import.meta.url).resolve('@larr/server/package.json'));

/** Starts a server; resolves with its address. */
async function start(args) {
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, LARR_THREADS: String(THREADS) },
  });
  const said = await Promise.race([once(child.stdout, 'data').then(([data]) => String(data)), once(child, 'exit')]);
  if (typeof said !== 'string') throw new Error(`${args[0]} ended before it was ready`);
  return {
    url: JSON.parse(said).url,
    pid: child.pid,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`${args[0]} ended by itself: ${child.exitCode ?? child.signalCode}`);
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
    },
  };
}

async function load(url, bodies, options) {
  const arguments_ = { url: `${url}/v1/rank`, bodies, rate: RATE, connections: 8, ...options };
  const child = spawn(process.execPath, [join(serverDirectory, 'bench', 'load.mjs'), JSON.stringify(arguments_)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (data) => {
    said += data;
  });
  await once(child, 'exit');
  return JSON.parse(said);
}

/** Seconds of the ranking stages and of whole requests so far, from the server's own metrics. */
async function times(url) {
  const text = await (await fetch(`${url}/metrics`)).text();
  const sum = (pattern) => [...text.matchAll(pattern)].reduce((total, [, value]) => total + Number(value), 0);
  return {
    stages: sum(/^larr_rank_stage_seconds_sum\{.*\} (\S+)$/gm),
    requests: sum(/^larr_http_request_seconds_sum\{route="\/v1\/rank"\} (\S+)$/gm),
  };
}

async function scores(url, body) {
  const reply = await fetch(`${url}/v1/rank`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  const { ranked } = await reply.json();
  return new Map(ranked.map(({ poi, pCtr }) => [poi, pCtr]));
}

/** @throws Error where the two do not serve the same model */
async function mustAgree(ours, peer, body) {
  const [a, b] = await Promise.all([scores(ours, body), scores(peer, body)]);
  for (const [poi, p] of a) {
    if (!(Math.abs(p - b.get(poi)) <= 1e-5))
      throw new Error(`ours scores ${poi} with ${p}, the peer with ${b.get(poi)}`);
  }
}

export async function* run() {
  const { bundle, run: trained, bodies } = await setting();
  const scratch = mkdtempSync(join(tmpdir(), 'larr-bench-peer-'));
  const servers = [];
  try {
    const { onnx, tables } = await unfusedGraph(trained);
    const graph = join(scratch, 'unfused.onnx');
    writeFileSync(graph, onnx);
    const peerOptions = { bundle, graph, tables: Object.keys(tables), threads: THREADS };
    const program = join(serverDirectory, 'bin', 'larr-server.mjs');
    const peerProgram = fileURLToPath(new URL('./serve/peer-server.mjs', import.meta.url));
    const ours = await start([
      program,
      '--bundle',
      bundle,
      '--port',
      '0',
      '--json',
      '--threads',
      String(THREADS),
      '--no-console',
    ]);
    servers.push(ours);
    const peer = await start([peerProgram, JSON.stringify(peerOptions)]);
    servers.push(peer);
    await mustAgree(ours.url, peer.url, readFileSync(bodies, 'utf8').split('\n')[0]);

    const best = { ours: null, peer: null };
    for (let round = 0; round <= ROUNDS; round++) {
      for (const [name, { url }] of Object.entries({ ours, peer })) {
        // the first round warms up
        const seconds = round === 0 ? 2 : SATURATION_SECONDS;
        const saturation = await load(url, bodies, { load: 'saturation', seconds });
        const before = await times(url);
        const steady = await load(url, bodies, {
          load: 'steady',
          // enough that it is the server that refuses, and not the client that waits
          connections: 256,
          seconds: round === 0 ? 2 : STEADY_SECONDS,
        });
        const after = await times(url);
        if (round === 0) continue;
        const http = 1 - (after.stages - before.stages) / (after.requests - before.requests);
        const measured = {
          rate: (CANDIDATES * saturation.requests) / saturation.seconds,
          p50: steady.p50,
          p99: steady.p99,
          http,
        };
        const known = best[name] ?? measured;
        best[name] = {
          rate: Math.max(known.rate, measured.rate),
          p50: Math.min(known.p50, measured.p50),
          p99: Math.min(known.p99, measured.p99),
          // of the round that waited least: what waits is no work
          http: measured.p50 < known.p50 ? measured.http : known.http,
        };
      }
    }
    const memory = { ours: peakMemory(ours.pid), peer: peakMemory(peer.pid) };
    const row = (load_, figure, unit, more) => {
      const [o, p] = [best.ours[figure], best.peer[figure]];
      return {
        bench: 'serve',
        case: { load: load_ },
        ours: o,
        peer: 'onnxruntime',
        peerValue: p,
        unit,
        ratio: more ? o / p : p / o,
        memory,
      };
    };
    yield row('saturation', 'rate', 'candidates/s', true);
    yield row('steady', 'p50', 'ms p50', false);
    yield row('steady', 'p99', 'ms p99', false);
    const share = `${(100 * best.ours.http).toFixed(0)} %`;
    process.stderr.write(
      `bench serve: HTTP, JSON and validation take ${share} of a steady request, ranking the rest\n`,
    );
  } finally {
    for (const server of servers) await server.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}
