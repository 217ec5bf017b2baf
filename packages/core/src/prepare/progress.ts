import { PARTS } from '../dataset/manifest.js';

/** How far a preparation is. */
export interface PrepareProgress {
  /** What is being done, for people: "reading events", "random: train samples". */
  stage: string;
  done: number;
  total: number;
  /** Seconds that are probably left, from how long what is done took; null while nothing is known. */
  secondsLeft: number | null;
}

/** Stages of a preparation before its splits, and their shares of the CPU time as measured on 105 million rows (docs/scale.md). */
const stages = {
  'reading users and POIs': 1,
  'reading events': 4,
  'checking values': 3,
  'joining users and POIs': 7,
  'looking for outcomes': 1,
  statistics: 24,
  features: 37,
  texts: 1,
  'serving store': 2,
} as const;
export type LoadingStage =
  | 'reading users and POIs'
  | 'reading events'
  | 'checking values'
  | 'joining users and POIs'
  | 'looking for outcomes';

function stageWeights(splits: readonly string[]): Map<string, number> {
  const weights = new Map<string, number>(Object.entries(stages));
  for (const name of splits) {
    weights.set(`${name}: vocabularies`, 3);
    for (const part of PARTS) weights.set(`${name}: ${part} samples`, part === 'train' ? 14 : 1);
    weights.set(`${name}: user texts`, 3);
  }
  return weights.set('checksums', 1);
}

/**
 * Tells how far a preparation is, once a second: within a stage by what it measures of itself, or else by the clock, from how long the
 * stages before took for their weight. A stage that takes longer than thought stops short of its end.
 */
export function startProgress(splits: readonly string[], tell: ((progress: PrepareProgress) => void) | undefined) {
  const weights = stageWeights(splits);
  const total = [...weights.values()].reduce((sum, w) => sum + w, 0);
  const started = performance.now();
  let stage = '';
  let measured: (() => number | null) | undefined;
  let finished = 0;
  let since = started;
  let furthest = 0;
  const show = () => {
    const now = performance.now();
    const weight = weights.get(stage) ?? 0;
    const share = measured?.() ?? null;
    let secondsPerWeight: number | null = null;
    let within = 0;
    if (share !== null && share > 0.02) {
      within = Math.min(share, 0.99) * weight;
      secondsPerWeight = (now - started) / 1000 / (finished + within);
    } else if (finished > 0) {
      secondsPerWeight = (since - started) / 1000 / finished;
      within = Math.min(0.95 * weight, (now - since) / 1000 / Math.max(secondsPerWeight, 1e-9));
    }
    furthest = Math.max(furthest, finished + within);
    const secondsLeft = secondsPerWeight === null ? null : (total - furthest) * secondsPerWeight;
    tell?.({ stage, done: furthest, total, secondsLeft });
  };
  // A listener may throw to stop the preparation; out of a timer that would end the program, so the next stage throws it.
  let thrown: { error: unknown } | null = null;
  const timer = setInterval(() => {
    try {
      show();
    } catch (error) {
      thrown = { error };
    }
  }, 1000);
  timer.unref();
  const rethrow = () => {
    if (thrown !== null) throw thrown.error;
  };
  return {
    /** @param share how much of the stage is done, asked for while it runs; null where that is not known */
    step(next: string, share?: () => number | null) {
      rethrow();
      finished += weights.get(stage) ?? 0;
      stage = next;
      measured = share;
      since = performance.now();
      show();
    },
    /** How much of the present stage is done. */
    within(share: number) {
      rethrow();
      measured = () => share;
      show();
    },
    finish() {
      clearInterval(timer);
      tell?.({ stage: 'done', done: total, total, secondsLeft: 0 });
    },
    stop: () => clearInterval(timer),
  };
}
