// What a published model's directory holds that takes no part here, and must be there again for who writes with the model.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Written beside whatever becomes of a model. */
export interface Companions {
  /** The contents of the files that there are, by name. */
  files: Record<string, string>;
  /** `eos_token_id` of config.json, where several tokens end a text: the tokenizer names one. */
  eosIds: number[] | null;
}

export const CHAT_TEMPLATE = 'chat_template.jinja';
const GENERATION = 'generation_config.json';

export async function readCompanions(directory: string): Promise<Companions> {
  const files: Record<string, string> = {};
  for (const name of [CHAT_TEMPLATE, GENERATION]) {
    const content = await readFile(join(directory, name), 'utf8').catch(() => null);
    if (content !== null) files[name] = content;
  }
  const { eos_token_id: ids } = JSON.parse(await readFile(join(directory, 'config.json'), 'utf8')) as {
    eos_token_id?: unknown;
  };
  return { files, eosIds: Array.isArray(ids) && ids.every(Number.isSafeInteger) ? (ids as number[]) : null };
}
