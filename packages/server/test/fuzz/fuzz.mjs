import { Agent, request as httpRequest } from 'node:http';
import { answerChecker } from './check-answer.mjs';
import { random } from './random.mjs';
import { nextRequest, operationsOf } from './requests.mjs';

/** How often an operation is asked, against 1 for the others: loading a bundle takes a second. */
const WEIGHTS = {
  rank: 8,
  score: 4,
  recall: 3,
  events: 3,
  reload: 0.02,
  rollback: 0.02,
  unload: 0.1,
  health: 0.2,
  readiness: 0.2,
  metrics: 0.05,
};

/**
 * Sends requests made from a server's own OpenAPI document and judges every answer.
 * @param {{ url: string, key?: string, requests: number, seed: number, connections?: number, first?: number, only?: string[], progress?: (done: number) => void }} options
 * @returns {Promise<object>} the verdict: `ok`, counts, and the first failures, each with the number that makes it again (`first`)
 */
export async function fuzz({ url, key, requests, seed, connections = 8, first = 0, only, progress = () => {} }) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const get = async (target) => JSON.parse((await send(agent, url, { method: 'GET', target, headers })).text);
  const document = await get('/openapi.json');
  const operations = operationsOf(document).filter(
    ({ operation }) => only === undefined || only.includes(operation.operationId),
  );
  const known = await knownValues(get, operations);
  const check = answerChecker(document);
  const patterns = operationsOf(document).map((one) => ({
    ...one,
    pattern: new RegExp(`^${one.path.replaceAll(/\{\w+\}/g, '[^/]+')}/?$`),
  }));

  const byStatus = {};
  const byOperation = {};
  const failures = [];
  let failed = 0;
  let next = first;
  const worker = async () => {
    while (next < first + requests) {
      const number = next++;
      const made = nextRequest({
        random: random(Math.imul(seed, 1_000_003) + number),
        document,
        known,
        operations,
        weights: WEIGHTS,
        headers,
      });
      let problem;
      let status = 0;
      try {
        const answer = await send(agent, url, made);
        status = answer.status;
        const path = made.target.split('?', 1)[0];
        const asked = patterns.find(({ method, pattern }) => method === made.method && pattern.test(path));
        problem = check({ method: made.method, path: asked?.path, operation: asked?.operation }, answer);
        const name = asked?.operation.operationId ?? 'none';
        byOperation[name] ??= {};
        byOperation[name][status] = (byOperation[name][status] ?? 0) + 1;
      } catch (error) {
        problem = `no answer: ${error.code ?? error.message}`;
      }
      byStatus[status] = (byStatus[status] ?? 0) + 1;
      if (problem !== null) {
        failed++;
        if (failures.length < 20)
          failures.push({
            number,
            problem,
            what: made.what,
            method: made.method,
            target: made.target.slice(0, 300),
            body: made.body?.toString().slice(0, 1000),
          });
      }
      if ((number + 1) % 1000 === 0) progress(number + 1 - first);
    }
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: connections }, worker));
  agent.destroy();
  return {
    ok: failed === 0,
    requests,
    seed,
    seconds: Math.round((performance.now() - started) / 100) / 10,
    failed,
    byStatus,
    byOperation,
    failures,
  };
}

/** Ids and texts that the server knows, so that requests reach the model and not only its first check. */
async function knownValues(get, operations) {
  const has = (id) => operations.some(({ operation }) => operation.operationId === id);
  const known = {};
  if (has('catalogueUsers')) known.user = (await get('/v1/catalogue/users?limit=50')).entries.map(({ id }) => id);
  if (has('cataloguePois')) known.poi = (await get('/v1/catalogue/pois?limit=50')).entries.map(({ id }) => id);
  if (has('catalogueScene')) {
    const { fields } = await get('/v1/catalogue/scene');
    known['scene fields'] = fields.map(({ name }) => name);
    for (const { name, values } of fields)
      if (values.length > 0) known[`scene.${name}`] = values.slice(0, 30).map(({ value }) => value);
  }
  known['scene.time'] = ['2026-01-10T12:10:00', '2026-07-01 23:59:59'];
  known.time = ['2026-01-10T12:11:00'];
  return known;
}

function send(agent, url, { method, target, headers, body }) {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const call = httpRequest(
      {
        agent,
        hostname,
        port,
        method,
        path: target,
        headers: { ...headers, ...(body === undefined ? {} : { 'content-length': body.length }) },
      },
      (reply) => {
        const parts = [];
        reply.on('data', (part) => parts.push(part));
        reply.on('end', () =>
          resolve({ status: reply.statusCode, headers: reply.headers, text: Buffer.concat(parts).toString() }),
        );
        reply.on('error', reject);
      },
    );
    call.on('error', reject);
    call.setTimeout(60_000, () => call.destroy(new Error('no answer in a minute')));
    call.end(body);
  });
}
