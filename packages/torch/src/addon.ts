import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { TensorError } from './errors.js';

const file = fileURLToPath(new URL('../build/Release/larr_torch.node', import.meta.url));

function load(): Readonly<Record<string, unknown>> {
  if (!existsSync(file)) {
    throw new TensorError('TENSOR_ADDON', 'load', [], `${file} is not built: run \`npm run setup\``);
  }
  try {
    return createRequire(import.meta.url)(file) as Record<string, unknown>;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new TensorError(
      'TENSOR_ADDON',
      'load',
      [],
      `${file} cannot be loaded: ${reason}. If LibTorch was moved or changed, build again.`,
    );
  }
}

/** The native functions; each module gives the ones that it uses their types. */
export const native = load();

(
  native.setErrorFactory as (
    factory: (
      ...parts: ConstructorParameters<typeof TensorError> extends [infer C, infer O, infer S, infer M]
        ? [C, O, M, S]
        : never
    ) => TensorError,
  ) => void
)((code, operator, message, shapes) => new TensorError(code, operator, shapes, message));
