import { expect, test } from 'vitest';
import { parseConfig } from '../pretraining/config.js';
import { FinetuneConfig } from './config.js';
import { judge } from './gate.js';
import type { EmbeddingQuality } from './quality.js';

const config = parseConfig(FinetuneConfig, {}, 'stage 2');
const recall = (recallAt10: number, candidates = 1000) => ({ recallAt1: 0, recallAt10, mrr: 0, candidates });
const within = (auc: number, error = 0.01, choices = 900) => ({
  behaviour: { auc, error, choices },
  text: { auc: 0.4, error: 0.01, choices },
});
const good: EmbeddingQuality = {
  poiPoi: recall(0.8),
  userUser: null,
  userPoi: null,
  dish: null,
  withinCity: within(0.65),
  probe: 0.8,
};
const before = { ...good, probe: 0.7 };
const verdicts = (after: EmbeddingQuality, from = before) => {
  const gate = judge(from, after, config);
  return [gate.verdict, ...gate.checks.map(({ verdict }) => verdict)];
};

test('each check is judged by itself, and one that fails fails the gate, with its figures in the reason', () => {
  expect(verdicts(good)).toEqual(['passed', 'passed', 'passed', 'passed']);
  expect(verdicts({ ...good, poiPoi: recall(0.5) })).toEqual(['failed', 'failed', 'passed', 'passed']);
  expect(verdicts({ ...good, probe: 0.705 })).toEqual(['failed', 'passed', 'passed', 'failed']);
  // What is below the threshold does not reach it, by however little.
  expect(verdicts({ ...good, withinCity: within(0.6) })[2]).toBe('passed');
  expect(verdicts({ ...good, withinCity: within(0.599) })[2]).toBe('failed');
  expect(verdicts({ ...good, poiPoi: recall(0.599, 400) })[1]).toBe('failed');
  expect(judge(before, { ...good, poiPoi: recall(0.5) }, config).reason).toBe(
    'poiPoiRecallAt10: 0.500 ± 0.016 falls short of 0.600',
  );
});

test('within a city the vector of behaviour is judged, as stage 3 takes it, and that of the text only where there is no other', () => {
  const withinCity = { behaviour: null, text: { auc: 0.7, error: 0.01, choices: 50 } };
  expect(judge(before, good, config).checks[1]).toMatchObject({
    value: 0.65,
    reason: expect.stringContaining('clicked'),
  });
  expect(judge(before, { ...good, withinCity }, config).checks[1]).toMatchObject({ verdict: 'passed', value: 0.7 });
});

test('what there is no data for, or too little, is neither passed nor failed, and says why', () => {
  const nothing: EmbeddingQuality = {
    poiPoi: null,
    userUser: null,
    userPoi: null,
    dish: null,
    withinCity: { behaviour: null, text: null },
    probe: null,
  };
  expect(verdicts(nothing, nothing)).toEqual(['not judged', 'not judged', 'not judged', 'not judged']);
  const gate = judge(nothing, nothing, config);
  for (const check of gate.checks) {
    expect(check.value).toBeNull();
    expect(check.reason).not.toBe('');
    expect(gate.reason).toContain(check.reason);
  }
  // Ten of twenty: chance is .5, and the error of .11 does not tell .6 from it; nor would all twenty found.
  for (const found of [0.3, 0.55, 1]) expect(verdicts({ ...good, poiPoi: recall(found, 20) })[1]).toBe('not judged');
  expect(verdicts({ ...good, poiPoi: recall(1, 100) })[1]).toBe('passed');
  // Ten of twelve are found by chance; an error of .06 reaches from the threshold to more than half-way to chance.
  expect(verdicts({ ...good, poiPoi: recall(0.3, 12) })[1]).toBe('not judged');
  expect(verdicts({ ...good, withinCity: within(0.55, 0.06, 9) })[2]).toBe('not judged');
  const partly = judge(before, { ...good, withinCity: within(0.9, 0.06, 9) }, config);
  expect(partly.verdict).toBe('passed');
  expect(partly.reason).toMatch(/withinCityAuc: its standard error over 9 choices/);
});
