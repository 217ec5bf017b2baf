import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { TensorError } from './errors.js';

const file = fileURLToPath(new URL('../build/Release/larr_torch.node', import.meta.url));

/**
 * LibTorch's threads wait for each other by spinning, for milliseconds: where processors are shared with other work, every small
 * operator then takes a time slice (measured: 40 ms a training step in place of 0.4). This is what OpenMP itself takes when it
 * knows that threads outnumber processors. Read once, when the library is loaded; what the user has set stands.
 */
function waitBriefly(): void {
  if (process.env.GOMP_SPINCOUNT === undefined && process.env.OMP_WAIT_POLICY === undefined)
    process.env.GOMP_SPINCOUNT = '1000';
}

function load(): Readonly<Record<string, unknown>> {
  if (!existsSync(file)) {
    throw new TensorError('TENSOR_ADDON', 'load', [], `${file} is not built: run \`npm run setup\``);
  }
  waitBriefly();
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
