import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelDigest } from './model-digest.js';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'larr-digest-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function directory(name: string, files: Record<string, string>): string {
  const path = join(root, name);
  mkdirSync(path);
  for (const [file, content] of Object.entries(files)) writeFileSync(join(path, file), content);
  return path;
}

const model = { 'config.json': '{}', 'tokenizer.json': '{}', 'model.safetensors': 'weights' };

describe('the digest of a model', () => {
  it('is what it was for a directory without settings of tokenizer and adapters', async () => {
    // sha256 of each name, a zero byte and the content, in the order of the names.
    expect(await modelDigest(directory('plain', { ...model, 'README.md': 'x' }))).toBe(
      '97238a383b346e54744ff850babde0da6fc5958c1048af97e8522222df83c85b',
    );
  });

  it('of a model in many shards is made without a warning of the runtime', async () => {
    const warnings: string[] = [];
    const listen = (warning: Error) => warnings.push(warning.message);
    process.on('warning', listen);
    const shards = Array.from({ length: 14 }, (_, i) => [`model-${10 + i}-of-14.safetensors`, `weights ${i}`]);
    await modelDigest(directory('shards', { ...model, ...Object.fromEntries(shards) }));
    await new Promise(setImmediate);
    process.off('warning', listen);
    expect(warnings).toEqual([]);
  });

  it("changes with the tokenizer's settings", async () => {
    const one = directory('one', { ...model, 'tokenizer_config.json': '{"add_bos_token": true}' });
    const two = directory('two', { ...model, 'tokenizer_config.json': '{"add_bos_token": false}' });
    expect(await modelDigest(one)).not.toBe(await modelDigest(two));
  });

  it("changes with adapters' strength, not with the place of the model that they are of", async () => {
    const base = directory('base', model);
    const moved = directory('moved', model);
    const other = directory('other', { ...model, 'model.safetensors': 'other weights' });
    const adapters = (name: string, of: string, alpha: number) =>
      directory(name, {
        'adapter_config.json': JSON.stringify({
          peft_type: 'LORA',
          base_model_name_or_path: of,
          lora_alpha: alpha,
          r: 8,
        }),
        'adapter_model.safetensors': 'adapters',
      });
    const digest = await modelDigest(adapters('a', base, 16));
    expect(await modelDigest(adapters('b', base, 32))).not.toBe(digest);
    expect(await modelDigest(adapters('c', moved, 16))).toBe(digest);
    expect(await modelDigest(adapters('d', other, 16))).not.toBe(digest);
  });
});
