import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { expect, it, vi } from 'vitest';
import { temporaryDirectory } from '../../../test/synthetic-data.js';
import { makeToyDataset } from '../../../test/toy-dataset.js';
import { pretrain } from '../../pretraining/pretrain.js';
import { registerEmbed } from './embed.js';

it('says in one line that stage 3 will refuse vectors whose model failed its gate, and nothing of it otherwise', async () => {
  const root = temporaryDirectory();
  const [data, model, out] = ['data', 'model', 'vectors'].map((name) => join(root, name)) as [string, string, string];
  await makeToyDataset(data);
  const decoder = { hiddenSize: 32, layers: 1, heads: 2, keyValueHeads: 1, feedForwardSize: 48, vocabularySize: 400 };
  await pretrain({ dataset: data, output: model, config: { decoder, tokens: 500, tokensPerStep: 500 } });
  const embed = async (value: number) => {
    const short = {
      verdict: value < 0.6 ? 'failed' : 'passed',
      value,
      error: 0.01,
      threshold: 0.6,
      reason: `${value}`,
    };
    writeFileSync(join(model, 'gate.json'), JSON.stringify({ checks: [{ name: 'withinCityAuc', ...short }] }));
    const lines: string[] = [];
    const stderr = vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      lines.push(...String(text).split('\n'));
      return true;
    });
    try {
      const program = new Command();
      registerEmbed(program);
      await program.parseAsync(['embed', '--data', data, '--model', model, '--out', out], { from: 'user' });
    } finally {
      stderr.mockRestore();
    }
    expect(process.exitCode).toBeUndefined();
    return lines.filter((line) => /stage 3/i.test(line));
  };
  try {
    expect(await embed(0.5)).toEqual([
      expect.stringMatching(/^Stage 3 will refuse these vectors: .*withinCityAuc: 0\.5.*--ignore-gate$/),
    ]);
    // within its error of the threshold, it is taken
    expect(await embed(0.595)).toEqual([]);
    expect(await embed(0.7)).toEqual([]);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
