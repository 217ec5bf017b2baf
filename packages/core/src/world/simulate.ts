import type { Random } from './random.js';
import { Random as RandomSource } from './random.js';
import { LIST, Session, type SessionSource } from './sessions.js';
import { STREAM } from './streams.js';

/** What the world aims at: clicks per impression and orders per click. */
const TARGET_CTR = 0.08;
const TARGET_CVR = 0.2;

const PILOT_SESSIONS = 4000;
/** A prime, so that walking through the times never falls into step with the days. */
const PILOT_TIMES = 97;

export interface Intercepts {
  click: number;
  order: number;
}

/**
 * The two intercepts that give the target rates, found by bisection on a pilot of sessions that never enter the log. The
 * pilot knows no past orders, so the log's own rates lie a little higher.
 */
export function calibrate(source: SessionSource, days: number): Intercepts {
  const session = new Session();
  const clicks = new Float64Array(PILOT_SESSIONS * LIST);
  const orders = new Float64Array(PILOT_SESSIONS * LIST);
  const times = Array.from({ length: days }, (_, day) => source.schedule(day, PILOT_TIMES));
  let rows = 0;
  for (let s = 0; s < PILOT_SESSIONS; s++) {
    const day = s % days;
    source.fill(session, STREAM.pilot, s, day, times[day]![(s * 31) % PILOT_TIMES]!);
    for (let i = 0; i < session.length; i++) {
      clicks[rows] = session.clickLogit[i]!;
      orders[rows++] = session.orderLogit[i]!;
    }
  }
  const click = bisect((b) => {
    let sum = 0;
    for (let r = 0; r < rows; r++) sum += sigmoid(clicks[r]! + b);
    return sum / rows - TARGET_CTR;
  });
  const order = bisect((b) => {
    let sum = 0;
    let weight = 0;
    for (let r = 0; r < rows; r++) {
      const p = sigmoid(clicks[r]! + click);
      weight += p;
      sum += p * sigmoid(orders[r]! + b);
    }
    return sum / weight - TARGET_CVR;
  });
  return { click, order };
}

function bisect(excess: (intercept: number) => number): number {
  let low = -15;
  let high = 10;
  for (let step = 0; step < 50; step++) {
    const middle = (low + high) / 2;
    if (excess(middle) < 0) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** A session with its answers: true probabilities, and what was clicked and ordered. */
export interface Answers {
  ctr: Float64Array;
  ctcvr: Float64Array;
  click: Uint8Array;
  order: Uint8Array;
}

/** Draws clicks and orders for a filled session, and tells the source of the orders. */
export function answer(
  session: Session,
  intercepts: Intercepts,
  source: SessionSource,
  random: Random,
  out: Answers,
): void {
  for (let i = 0; i < session.length; i++) {
    const ctr = sigmoid(session.clickLogit[i]! + intercepts.click);
    const cvr = sigmoid(session.orderLogit[i]! + intercepts.order);
    out.ctr[i] = ctr;
    out.ctcvr[i] = ctr * cvr;
    out.click[i] = random.uniform() < ctr ? 1 : 0;
    const orders = random.uniform() < cvr;
    out.order[i] = out.click[i] === 1 && orders ? 1 : 0;
    if (out.order[i] === 1) source.remember(session.user, session.poi[i]!);
  }
}

/**
 * Runs the log from the first day to the last, in order of time, and hands each answered session to `sink`. Sessions of a day are
 * the world's total spread evenly, a fifth more at weekends. Returns control to the event loop every 2,000 sessions.
 */
export async function simulate(
  source: SessionSource,
  intercepts: Intercepts,
  plan: { days: number; sessions: number; seed: number; weekend: (day: number) => boolean },
  sink: (session: Session, answers: Answers, index: number) => void,
  pulse: (done: number) => void,
): Promise<void> {
  const session = new Session();
  const random = new RandomSource(plan.seed, STREAM.session);
  const answers: Answers = {
    ctr: new Float64Array(LIST),
    ctcvr: new Float64Array(LIST),
    click: new Uint8Array(LIST),
    order: new Uint8Array(LIST),
  };
  const weights = Array.from({ length: plan.days }, (_, day) => (plan.weekend(day) ? 1.2 : 1));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let index = 0;
  for (let day = 0; day < plan.days; day++) {
    const times = source.schedule(day, Math.round((plan.sessions * weights[day]!) / total));
    for (const time of times) {
      source.fill(session, STREAM.session, index, day, time);
      random.restart(plan.seed, STREAM.answer, index);
      answer(session, intercepts, source, random, answers);
      sink(session, answers, index++);
      if (index % 2000 === 0) {
        pulse(index);
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    }
  }
  pulse(index);
}
