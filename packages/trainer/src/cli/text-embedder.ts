// What turns a question into a vector: --model or --encoder, whichever made the vectors that are searched.
import { UsageError } from '@larr/core';
import type { TextEmbedder } from '../embedding/text-embedder.js';
import type { CommandContext } from './command-context.js';
import { modelDirectory } from './model-directory.js';

interface Chosen {
  model?: string;
  encoder?: string;
  vectors: string;
  seed: number;
  device: string;
}

/** The embedder, its directory and the digest of what decides its vectors. @throws UsageError `MODEL_OR_ENCODER` */
export async function openTextEmbedder(
  { model, encoder, vectors, seed, device }: Chosen,
  context: CommandContext,
): Promise<{ embedder: TextEmbedder; directory: string; digest: string }> {
  mustBeOne(model, encoder);
  if (encoder !== undefined) {
    const { loadSentenceEncoder } = await import('../embedding/sentence-encoder/sentence-encoder.js');
    const { readProjected } = await import('../embedding/sentence-encoder/projection.js');
    const directory = await modelDirectory(encoder, context, 'encoder');
    return { directory, ...(await readProjected(await loadSentenceEncoder(directory), vectors)) };
  }
  const { loadEmbedder } = await import('../embedding/embedder.js');
  const { languageModelEmbedder } = await import('../embedding/text-embedder.js');
  const { embedderDigest } = await import('../embedding/vectors-manifest.js');
  const directory = await modelDirectory(model!, context);
  const digest = await embedderDigest(directory, seed);
  return { directory, digest, embedder: languageModelEmbedder(await loadEmbedder(directory, { device, seed })) };
}

export function mustBeOne(model: string | undefined, encoder: string | undefined): void {
  if ((model === undefined) !== (encoder === undefined)) return;
  throw new UsageError(
    'MODEL_OR_ENCODER',
    'give either --model, what `larr finetune` wrote, or --encoder, a sentence encoder in ONNX',
  );
}
