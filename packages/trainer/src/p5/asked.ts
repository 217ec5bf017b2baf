// Learning to answer, and the answers.
import { autocast, noGrad, type Tensor, tensor, tidy } from '@larr/torch';
import { packSequences } from '../language-model/batch.js';
import { type Decoder, headRows, hiddenStates, trainingStates } from '../language-model/decoder.js';
import type { LanguageModel } from '../language-model/model-directory.js';
import { stepFlops } from '../language-model/step-flops.js';
import type { P5Config } from './config.js';
import { type Prompt, type PromptRows, type Prompts, promptIds } from './prompts.js';

/** Where in a batch answers are read, prompt by prompt: rising. */
function answerPlaces(prompts: readonly Prompt[], starts: Int32Array): Int32Array {
  return Int32Array.from(
    prompts.flatMap(({ prefix, answers }, i) => answers.map((at) => starts[i]! + prefix.length + at)),
  );
}

/** Scores of no and yes of the states at the places of answers: [places, 2]. No other word is scored, so that none has to be unlearnt first. */
function answerScores(decoder: Decoder, { no, yes }: Prompts, states: Tensor): Tensor {
  return states.linear(headRows(decoder, Int32Array.of(no, yes)));
}

/**
 * Mean cross-entropy in nats of the right answers, of the two that there are, its gradient added to the parameters', and what it took (`stepFlops`).
 * @param labels of each row, by question: 1 is yes
 */
export function learnAnswers(
  { decoder }: LanguageModel,
  prompts: Prompts,
  rows: PromptRows,
  chosen: Int32Array,
  labels: readonly Float32Array[],
  { precision, recompute, accumulate }: Pick<P5Config, 'precision' | 'recompute' | 'accumulate'>,
): { loss: number; flops: number; tokens: number } {
  const inPrecision = <T>(fn: () => T): T => autocast(fn, { dtype: 'bf16', enabled: precision === 'bf16' });
  const sum = { loss: 0, flops: 0, tokens: 0 };
  const size = Math.ceil(chosen.length / accumulate);
  for (let at = 0; at < chosen.length; at += size) {
    const piece = chosen.subarray(at, at + size);
    tidy(() => {
      const made = Array.from(piece, (row) => prompts.make(rows, row));
      const batch = packSequences(made.map(promptIds));
      const right = BigInt64Array.from(
        Array.from(piece).flatMap((row) => labels.map((of) => (of[row] === 1 ? 1n : 0n))),
      );
      const target = tensor(right, [right.length], { dtype: 'i64', device: decoder.device });
      const places = answerPlaces(made, batch.starts);
      const { states, backward } = inPrecision(() => trainingStates(decoder, batch, { recompute, rows: places }));
      const loss = answerScores(decoder, prompts, states)
        .crossEntropy(target)
        .mul(right.length / (chosen.length * labels.length));
      loss.backward();
      inPrecision(backward);
      sum.loss += loss.item();
      sum.flops += stepFlops(decoder, batch, 0, places);
      sum.tokens += batch.ids.length;
    });
  }
  return sum;
}

/** Tokens answered at a time. */
const TOKENS_AT_ONCE = 8192;

/**
 * P(yes) of each question and row: the softmax over the two answers. [questions][rows].
 */
export async function answers(
  { decoder }: LanguageModel,
  prompts: Prompts,
  rows: PromptRows,
  { precision, signal }: { precision: 'f32' | 'bf16'; signal?: AbortSignal | undefined },
): Promise<Float32Array[]> {
  const out = Array.from({ length: prompts.questions }, () => new Float32Array(rows.rows));
  for (let at = 0; at < rows.rows; ) {
    signal?.throwIfAborted();
    const made: Prompt[] = [];
    const first = at;
    for (let tokens = 0; at < rows.rows && (made.length === 0 || tokens < TOKENS_AT_ONCE); at++) {
      const prompt = prompts.make(rows, at);
      tokens += prompt.prefix.length + prompt.rest.length;
      made.push(prompt);
    }
    const scores = noGrad(() =>
      tidy(() => {
        const batch = packSequences(made.map(promptIds));
        const places = answerPlaces(made, batch.starts);
        const states = autocast(() => hiddenStates(decoder, batch, { rows: places }), {
          dtype: 'bf16',
          enabled: precision === 'bf16',
        });
        return answerScores(decoder, prompts, states).softmax(1).toFloat32Array(); // [prompts · questions, no and yes]
      }),
    );
    made.forEach((_, i) => {
      for (let q = 0; q < prompts.questions; q++) out[q]![first + i] = scores[2 * (i * prompts.questions + q) + 1]!;
    });
    await new Promise(setImmediate);
  }
  return out;
}
