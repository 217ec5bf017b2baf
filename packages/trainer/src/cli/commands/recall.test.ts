import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { temporaryDirectory } from '../../../test/synthetic-data.js';
import { makeToyDataset } from '../../../test/toy-dataset.js';
import { embedDataset } from '../../embedding/vectors.js';
import { pretrain } from '../../pretraining/pretrain.js';
import { registerRecall } from './recall.js';

const root = temporaryDirectory();
const [data, model, vectors] = ['data', 'model', 'vectors'].map((name) => join(root, name)) as [string, string, string];
const contextLength = 48;

beforeAll(async () => {
  await makeToyDataset(data);
  const decoder = { hiddenSize: 32, layers: 1, heads: 2, keyValueHeads: 1, feedForwardSize: 48, vocabularySize: 400 };
  const config = { decoder: { ...decoder, contextLength }, tokens: 500, tokensPerStep: 500 };
  await pretrain({ dataset: data, output: model, config });
  await embedDataset({ dataset: data, model, output: vectors });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function ask(text: string, ...more: string[]) {
  const said: string[] = [];
  let answer = '';
  const stderr = vi.spyOn(process.stderr, 'write').mockImplementation((line) => said.push(String(line)) > 0);
  const stdout = vi.spyOn(process.stdout, 'write').mockImplementation((line) => {
    answer += line;
    return true;
  });
  try {
    const program = new Command();
    registerRecall(program);
    const from = ['--data', data, '--model', model, '--vectors', vectors, '--json'];
    await program.parseAsync(['recall', ...from, '--text', text, ...more], { from: 'user' });
  } finally {
    stderr.mockRestore();
    stdout.mockRestore();
  }
  expect(process.exitCode).toBeUndefined();
  return { question: JSON.parse(answer).question, cut: said.filter((line) => /longer than/.test(line)) };
}

it('says of a question that is longer than the context that it was cut, and nothing of one that is not', async () => {
  const short = await ask('noodles');
  expect(short).toEqual({ question: { tokens: expect.any(Number), truncated: false }, cut: [] });
  expect(short.question.tokens).toBeLessThan(contextLength);
  for (const users of [[], ['--users', '2']]) {
    expect(await ask('noodles and curry '.repeat(60), ...users)).toEqual({
      question: { tokens: contextLength, truncated: true },
      cut: [expect.stringMatching(/context of 48 tokens/)],
    });
  }
  expect((await ask('noodles', '--users', '2')).cut).toEqual([]);
});
