// `--model` of the commands that read a language model: a directory, or a model of the Hugging Face hub.
import type { ModelUse } from '../language-model/hub.js';
import type { CommandContext } from './command-context.js';

/** The directory of the model that was named; one of the hub is fetched first, and how far that is is shown. */
export async function modelDirectory(
  reference: string,
  { signal, say, progress }: CommandContext,
  use: ModelUse = 'decoder',
): Promise<string> {
  const { resolveModel } = await import('../language-model/hub.js');
  return resolveModel(reference, {
    use,
    signal,
    onNotice: say,
    onProgress: (done, total) =>
      progress('fetch', done, total, `${(done / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB`),
  });
}
