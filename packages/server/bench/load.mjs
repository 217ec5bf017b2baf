// Load for a ranking server, from a process of its own:
//   node load.mjs '{"url":"http://…/v1/rank","bodies":"bodies.jsonl","load":"steady","rate":100,"seconds":10,"connections":16}'
// steady: requests leave on a fixed timetable whether or not earlier ones were answered, and latency counts from the timetable, so that a
// slow server cannot slow the clock. saturation: each connection asks again as soon as it was answered.
// Prints {"requests","failed","seconds","p50","p99","max"} (milliseconds) on stdout.
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';

const { url, bodies: file, load, rate, seconds, connections } = JSON.parse(process.argv[2]);
const bodies = readFileSync(file, 'utf8')
  .split('\n')
  .filter(Boolean)
  .map((line) => Buffer.from(line));
const agent = new Agent({ keepAlive: true, maxSockets: connections });
const latencies = [];
let failed = 0;

function ask(i, since) {
  return new Promise((resolve) => {
    const body = bodies[i % bodies.length];
    const done = (ok) => {
      if (ok) latencies.push(performance.now() - since);
      else failed++;
      resolve();
    };
    const call = request(
      url,
      { agent, method: 'POST', headers: { 'content-type': 'application/json', 'content-length': body.length } },
      (reply) => {
        reply.on('data', () => {});
        reply.on('end', () => done(reply.statusCode === 200));
        reply.on('error', () => done(false));
      },
    );
    call.on('error', () => done(false));
    call.end(body);
  });
}

const start = performance.now();
if (load === 'steady') {
  const open = [];
  for (let i = 0; i < rate * seconds; i++) {
    const due = start + (i * 1000) / rate;
    const wait = due - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    open.push(ask(i, due));
  }
  await Promise.all(open);
} else {
  let next = 0;
  const end = start + seconds * 1000;
  await Promise.all(
    Array.from({ length: connections }, async () => {
      while (performance.now() < end) await ask(next++, performance.now());
    }),
  );
}
const elapsed = (performance.now() - start) / 1000;
agent.destroy();
latencies.sort((a, b) => a - b);
const quantile = (q) => latencies[Math.min(latencies.length - 1, Math.floor(q * latencies.length))] ?? null;
process.stdout.write(
  `${JSON.stringify({ requests: latencies.length, failed, seconds: elapsed, p50: quantile(0.5), p99: quantile(0.99), max: latencies.at(-1) ?? null })}\n`,
);
