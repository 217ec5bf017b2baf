import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { openDataset, writeFileAtomic } from '@larr/core';
import { recordRun, runDataset } from '../report/run-record.js';
import { type AbTestOptions, type AbTestResult, runAbTest } from './replay.js';
import { writeAbTestReport } from './report.js';

/**
 * Runs an A/B test in the world and, where `out` names a directory, leaves result.json, run.json and report.html in it.
 * @throws those of runAbTest
 */
export async function abTest(options: AbTestOptions & { out: string | undefined }): Promise<AbTestResult> {
  const { out, signal, onProgress: _, ...settings } = options;
  if (out === undefined) return runAbTest(options);
  const dataset = await openDataset(options.data);
  const identity = createHash('sha256')
    .update(JSON.stringify([dataset.manifest.contentDigest, settings]))
    .digest('hex');
  const { result, record } = await recordRun(
    out,
    {
      stage: 'abtest',
      identity,
      config: settings,
      seed: options.seed,
      device: 'cpu',
      dataset: runDataset(dataset),
      inputs: {},
    },
    signal,
    () => runAbTest(options),
  );
  await writeFileAtomic(join(out, 'result.json'), `${JSON.stringify(result, null, 2)}\n`);
  await writeAbTestReport(join(out, 'report.html'), result, record);
  return result;
}
