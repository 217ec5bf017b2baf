import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { adaptedModel, holdsAdapters } from '../language-model/lora-directory.js';

const ADAPTER_SETTINGS = 'adapter_config.json';

/**
 * sha256 over the files that decide a model directory's vectors: config.json, the tokenizer with its settings, adapters' settings, and
 * every file of weights but checkpoints.
 */
export async function modelDigest(directory: string): Promise<string> {
  const files = (await readdir(directory).catch(() => [] as string[]))
    .filter(
      (file) =>
        file === 'config.json' ||
        file === 'tokenizer.json' ||
        file === 'tokenizer.model' ||
        file === 'tokenizer_config.json' ||
        file === ADAPTER_SETTINGS ||
        file.endsWith('.bin') ||
        (file.endsWith('.safetensors') && file !== 'checkpoint.safetensors'),
    )
    .sort();
  const hash = createHash('sha256');
  // Adapters are nothing without the model that they are of.
  if (holdsAdapters(directory)) hash.update(await modelDigest(await adaptedModel(directory)));
  for (const file of files) {
    hash.update(`${file}\0`);
    if (file === ADAPTER_SETTINGS) {
      // Where the model lies that the adapters are of is no matter: what it holds was counted.
      const text = await readFile(join(directory, file), 'utf8');
      hash.update(text.replace(/"base_model_name_or_path"\s*:\s*("(?:[^"\\]|\\.)*"|null)/, ''));
      continue;
    }
    for await (const bytes of createReadStream(join(directory, file))) hash.update(bytes as Buffer);
  }
  return hash.digest('hex');
}
