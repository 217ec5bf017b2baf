import type { FinetuneConfig } from './config.js';
import type { EmbeddingQuality } from './quality.js';

/** `not judged` where the dataset has nothing, or too little, to judge by: neither a pass nor a failure. */
export type Verdict = 'passed' | 'failed' | 'not judged';

export interface GateCheck {
  name: 'poiPoiRecallAt10' | 'withinCityAuc' | 'probe';
  verdict: Verdict;
  /** Null where there is none. */
  value: number | null;
  /** The value's standard error, 0 where it is not known. */
  error: number;
  /** Null where it depends on a value that there is none of. */
  threshold: number | null;
  /** In words: what was found, or why nothing could be. */
  reason: string;
}

/** Whether stage 3 may take the vectors (gate.json). */
export interface Gate {
  /** `failed` where any check failed, `not judged` where none could be judged. */
  verdict: Verdict;
  reason: string;
  checks: GateCheck[];
}

/** A value passes that reaches its threshold; none is judged whose error is too large to tell the threshold from chance. */
export function judge(before: EmbeddingQuality, after: EmbeddingQuality, config: FinetuneConfig): Gate {
  const checks = [poiPoiCheck(after, config), withinCityCheck(after, config), probeCheck(before, after, config)];
  const of = (verdict: Verdict) => checks.filter((check) => check.verdict === verdict);
  const failed = of('failed');
  const unjudged = of('not judged');
  const reasons = (some: GateCheck[]) => some.map(({ name, reason }) => `${name}: ${reason}`).join('; ');
  if (failed.length > 0) return { verdict: 'failed', reason: reasons(failed), checks };
  if (unjudged.length === checks.length) return { verdict: 'not judged', reason: reasons(unjudged), checks };
  const reason =
    unjudged.length === 0
      ? 'every check passed'
      : `every check that could be judged passed; not judged: ${reasons(unjudged)}`;
  return { verdict: 'passed', reason, checks };
}

function poiPoiCheck({ poiPoi }: EmbeddingQuality, config: FinetuneConfig): GateCheck {
  const name = 'poiPoiRecallAt10';
  const threshold = config.gate.poiPoiRecallAt10;
  if (poiPoi === null) return unjudged(name, null, 0, threshold, 'no held-out POIs have business and basic texts');
  const { recallAt10: value, candidates } = poiPoi;
  const error = Math.sqrt((value * (1 - value)) / candidates);
  const chance = Math.min(1, 10 / candidates);
  if (chance >= threshold) {
    const reason = `ten of ${candidates} candidates reach ${threshold} by chance: too few POIs are held out`;
    return unjudged(name, value, error, threshold, reason);
  }
  // The error of a value at the threshold: that of the value found is 0 where it is 0 or 1, however few there are.
  const expected = Math.sqrt((threshold * Math.max(0, 1 - threshold)) / candidates);
  if (expected > (threshold - chance) / 2) {
    const reason = `with ${candidates} candidates the standard error is ${expected.toFixed(3)}: too few POIs are held out to tell ${threshold} from chance (${chance.toFixed(3)})`;
    return unjudged(name, value, error, threshold, reason);
  }
  return judged(name, value, error, threshold);
}

/** By the vector that stage 3 is given: of behaviour; of the text, where nobody clicked anything before. */
function withinCityCheck({ withinCity }: EmbeddingQuality, config: FinetuneConfig): GateCheck {
  const name = 'withinCityAuc';
  const threshold = config.gate.withinCityAuc;
  const found = withinCity.behaviour ?? withinCity.text;
  if (found === null) {
    return unjudged(
      name,
      null,
      0,
      threshold,
      'no user took a held-out POI in the validation part that others could be told from',
    );
  }
  const { auc: value, error, choices } = found;
  // With a larger error, vectors would pass that are nearer to chance than to the threshold.
  if (threshold > 0.5 && error > (threshold - 0.5) / 2) {
    const reason = `its standard error over ${choices} choices is ${error.toFixed(3)}: too few to tell ${threshold} from chance (0.5)`;
    return unjudged(name, value, error, threshold, reason);
  }
  const check = judged(name, value, error, threshold);
  const by = withinCity.behaviour === null ? 'the vector of the text' : 'the mean vector of what was clicked before';
  return { ...check, reason: `${check.reason}, over ${choices} choices by ${by}` };
}

function probeCheck(before: EmbeddingQuality, after: EmbeddingQuality, config: FinetuneConfig): GateCheck {
  if (after.probe === null)
    return unjudged('probe', null, 0, null, 'the dataset does not know the true attributes of its POIs');
  if (before.probe === null)
    return unjudged(
      'probe',
      after.probe,
      0,
      null,
      'the vectors are of a ready encoder: there is no stage 1 to compare with',
    );
  return judged('probe', after.probe, 0, before.probe + config.gate.probeGain);
}

function unjudged(
  name: GateCheck['name'],
  value: number | null,
  error: number,
  threshold: number | null,
  reason: string,
): GateCheck {
  return { name, verdict: 'not judged', value, error, threshold, reason };
}

function judged(name: GateCheck['name'], value: number, error: number, threshold: number): GateCheck {
  const passed = value >= threshold;
  const measured = error > 0 ? `${value.toFixed(3)} ± ${error.toFixed(3)}` : value.toFixed(3);
  const reason = `${measured} ${passed ? 'reaches' : 'falls short of'} ${threshold.toFixed(3)}`;
  return { name, verdict: passed ? 'passed' : 'failed', value, error, threshold, reason };
}
