import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../../test/synthetic-data.js';
import { parseConfig } from '../pretraining/config.js';
import { FinetuneConfig } from './config.js';
import { judge } from './gate.js';
import { requireGate } from './vectors-gate.js';

const config = parseConfig(FinetuneConfig, {}, 'stage 2');

/** A directory with the gate's own findings: these two figures, each with a known error. */
function vectors(recallAt10: number, auc: number): string {
  const directory = temporaryDirectory();
  mkdirSync(directory, { recursive: true });
  const quality = {
    poiPoi: { recallAt1: 0, recallAt10, mrr: 0, candidates: 1000 },
    userUser: null,
    userPoi: null,
    dish: null,
    withinCity: { behaviour: { auc, error: 0.02, choices: 900 }, text: null },
    probe: null,
  };
  writeFileSync(join(directory, 'gate.json'), JSON.stringify(judge(quality, quality, config)));
  return directory;
}
async function told(directory: string, ignore = false): Promise<string> {
  const lines: string[] = [];
  await requireGate(directory, { ignore, say: (line) => lines.push(line) });
  return lines.join('\n');
}

test('vectors that fall short by more than the standard error are refused, with the check and its value, unless told otherwise', async () => {
  const bad = vectors(0.8, 0.55);
  await expect(told(bad)).rejects.toMatchObject({
    code: 'GATE_FAILED',
    message: expect.stringMatching(/withinCityAuc: 0\.550 ± 0\.020 .*0\.600.*--ignore-gate/),
  });
  expect(await told(bad, true)).toMatch(/all the same .*withinCityAuc: 0\.550/);
  await expect(told(vectors(0.5, 0.7))).rejects.toMatchObject({ message: expect.stringContaining('poiPoiRecallAt10') });
});

test('a value within its standard error of the threshold is undecided: taken, and said; one that passes is taken in silence', async () => {
  expect(await told(vectors(0.8, 0.585))).toMatch(/undecided: withinCityAuc: 0\.585/);
  expect(await told(vectors(0.8, 0.61))).toBe('');
  // Beside one that failed, what is undecided refuses nothing more, and does not save it.
  await expect(told(vectors(0.5, 0.585))).rejects.toMatchObject({
    code: 'GATE_FAILED',
    message: expect.not.stringContaining('withinCityAuc'),
  });
});

test('vectors of stage 1 have no findings and are taken; findings that cannot be read are not', async () => {
  const directory = temporaryDirectory();
  expect(await told(directory)).toBe('');
  writeFileSync(join(directory, 'gate.json'), '{"checks":[{"name":"probe","passed":true}]}');
  await expect(told(directory)).rejects.toMatchObject({ code: 'GATE_CORRUPT' });
  expect(await told(directory, true)).toMatch(/older version/);
});
