const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const QUESTIONS = 150;
/** For so long after the online store came back, answers without it are still right. */
const GRACE_MS = 15_000;

/** Questions, and what each bundle says to them: as it is, and while the online store with the users' features is away. */
export async function knownAnswers(call, { one, below, chance }, bundles, redis) {
  const entries = async (what) =>
    (await call('GET', `/v1/catalogue/${what}?limit=100`)).body.entries.map(({ id }) => id);
  const [users, pois] = [await entries('users'), await entries('pois')];
  const { fields } = (await call('GET', '/v1/catalogue/scene')).body;
  const scene = () => {
    const value = { time: `2026-0${1 + below(9)}-1${below(9)}T${10 + below(14)}:30:00` };
    for (const { name, values } of fields) if (values.length > 0 && chance(0.5)) value[name] = one(values).value;
    return value;
  };
  const asked = async (question) => {
    const { status, body } = await call('POST', '/v1/rank', question);
    if (status !== 200) throw new Error(`a question of the soak is not answered: ${status} ${JSON.stringify(body)}`);
    return body;
  };
  const questions = Array.from({ length: QUESTIONS }, () => {
    const candidates = [...new Set(Array.from({ length: 1 + below(chance(0.1) ? 300 : 40) }, () => one(pois)))];
    return { user: one(users), scene: scene(), candidates };
  });
  /** bundle's digest → one of `{ usual, without }` a question */
  const answers = new Map();
  for (const bundle of bundles) {
    const { status, body } = await call('POST', '/v1/admin/reload', { bundle });
    if (status !== 200) throw new Error(`the bundle ${bundle} is not loaded: ${JSON.stringify(body)}`);
    const of = [];
    for (const question of questions) of.push({ usual: scores(await asked(question)), without: null });
    if (redis !== null) {
      await redis.kill();
      for (const [number, question] of questions.entries()) {
        const reply = await asked(question);
        if (reply.fallbacks.store !== true) throw new Error('the store is away, and the server does not say so');
        of[number].without = scores(reply);
      }
      await redis.start();
      for (let i = 0; (await asked(questions[0])).fallbacks.store === true; i++) {
        if (i === 300) throw new Error('the store is back for half a minute, and the server does not use it');
        await sleep(100);
      }
    }
    answers.set(body.model.bundle, of);
  }
  let away = false;
  let back = Number.NEGATIVE_INFINITY;
  return {
    questions,
    answers,
    storeWentAway: () => {
      away = true;
    },
    storeCameBack: () => {
      away = false;
      back = performance.now();
    },
    mayLackStore: () => away || performance.now() - back < GRACE_MS,
  };
}

const scores = ({ ranked }) => new Map(ranked.map(({ poi, pCtr, pCtcvr }) => [poi, [pCtr, pCtcvr ?? 0]]));

function same(expected, found) {
  if (expected.size !== found.size) return false;
  for (const [poi, values] of expected) {
    const other = found.get(poi);
    if (other === undefined || values.some((value, i) => Math.abs(value - other[i]) > 1e-6)) return false;
  }
  return true;
}

/** Asks known questions at a rate, on a fixed timetable, and compares every answer with what the bundle that gave it said in peace. */
export function rankLoad({ call, known, rate, over, wrong, random }) {
  const times = [];
  const byStatus = {};
  let right = 0;
  let degraded = 0;
  /** answers without the store, which was there and did not answer in time */
  let storeSlow = 0;
  const ask = async (question, inPeace = false) => {
    const number = known.questions.indexOf(question);
    const mayLack = known.mayLackStore();
    const { status, headers, body, ms } = await call('POST', '/v1/rank', question);
    byStatus[status] = (byStatus[status] ?? 0) + 1;
    if (status === 503 && !inPeace) {
      if (!/^\d+$/.test(headers['retry-after'] ?? '')) wrong('503 without Retry-After', body);
      return;
    }
    if (status !== 200) return wrong('no answer to a good question', { status, body });
    times.push(ms);
    const expected = known.answers.get(body.model.bundle)?.[number];
    if (expected === undefined) return wrong('a bundle that was never loaded answers', body.model);
    const found = scores(body);
    const ranks = body.ranked.map(({ score }) => score);
    if (ranks.some((score, i) => i > 0 && score > ranks[i - 1])) return wrong('not best first', { number, ranks });
    if (same(expected.usual, found)) right++;
    else if (body.fallbacks.store === true && !inPeace && same(expected.without, found)) {
      // A machine that is busy with other things makes a store wait that is there; the answer is the one for a store that is away.
      if (mayLack || known.mayLackStore()) degraded++;
      else storeSlow++;
    } else wrong('a wrong answer', { number, bundle: body.model.bundle, fallbacks: body.fallbacks, ms });
  };
  const run = async () => {
    const open = new Set();
    for (let due = performance.now(); !over(); due += 1000 / rate) {
      const wait = due - performance.now();
      if (wait > 0) await sleep(wait);
      // A stalled server shall not gather requests without end; what is not asked is not right either.
      if (open.size > 200) continue;
      const asked = ask(random.one(known.questions)).finally(() => open.delete(asked));
      open.add(asked);
    }
    await Promise.all(open);
  };
  return {
    done: run(),
    ask,
    result: () => {
      times.sort((a, b) => a - b);
      const quantile = (q) => Math.round((times[Math.floor(q * times.length)] ?? 0) * 10) / 10;
      return {
        right,
        degraded,
        storeSlow,
        byStatus,
        p50: quantile(0.5),
        p99: quantile(0.99),
        max: Math.round(times.at(-1) ?? 0),
      };
    },
  };
}
