import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noGrad, tidy } from '@larr/torch';
import { describe, expect, it } from 'vitest';
import { packSequences } from './batch.js';
import { disposeDecoder, hiddenStates } from './decoder.js';
import { generate } from './generation.js';
import { loadLlama2c } from './llama2c.js';
import { loadLanguageModel, saveLanguageModel } from './model-directory.js';
import { nextTokenLoss, nextTokenTargets } from './next-token-loss.js';

/** The published stories260K of llama2.c; it is not part of this repository. */
const directory = join(import.meta.dirname, '../../../../../shared/data/models/stories260K');
const files = [join(directory, 'stories260K.bin'), join(directory, 'tok512.bin')] as const;

describe.skipIf(!existsSync(files[0]))('stories260K', () => {
  it('continues a prompt as run.c does at temperature 0', async () => {
    const model = await loadLlama2c(...files);
    // The beginning that llama2.c's own run prints for this model and prompt.
    expect(generate(model, 'Once upon a time', { maxTokens: 40 })).toMatch(
      /^, there was a little girl named Lily\. She loved to play outside in the park\./,
    );
    disposeDecoder(model.decoder);
  });

  it('has the loss of a trained model on such text, and not on noise', async () => {
    const model = await loadLlama2c(...files);
    const lossOf = (text: string): number =>
      noGrad(() =>
        tidy(() => {
          const ids = Int32Array.from([model.tokenizer.bosId!, ...model.tokenizer.encode(text)]);
          const batch = packSequences([ids]);
          const targets = nextTokenTargets(batch, [ids], [0]);
          const states = hiddenStates(model.decoder, batch, { rows: targets.rows });
          return nextTokenLoss(model.decoder, states, targets, { backward: false });
        }),
      );
    const story =
      'Tom and Sam were good friends. One day they went to the park to play. They saw a big dog. The dog was happy and wanted to play with them.';
    expect(lossOf(story)).toBeLessThan(1.6);
    expect(lossOf([...story].reverse().join(''))).toBeGreaterThan(3);
    disposeDecoder(model.decoder);
  });

  it('is read from its directory as any model is, and written as one that is the same', async () => {
    const model = await loadLanguageModel(directory);
    const copy = mkdtempSync(join(tmpdir(), 'larr-llama2c-'));
    await saveLanguageModel(copy, model);
    const again = await loadLanguageModel(copy);
    const prompt = 'The little dog';
    expect(generate(again, prompt, { maxTokens: 20 })).toBe(generate(model, prompt, { maxTokens: 20 }));
    disposeDecoder(model.decoder);
    disposeDecoder(again.decoder);
    rmSync(copy, { recursive: true });
  });

  it('is refused where the weights are cut short or the tokenizer is missing', async () => {
    await expect(loadLlama2c(files[1], files[1])).rejects.toMatchObject({ code: 'BAD_WEIGHTS' });
    await expect(loadLlama2c(files[0], join(directory, 'none.bin'))).rejects.toMatchObject({ code: 'MISSING_FILE' });
  });
});
