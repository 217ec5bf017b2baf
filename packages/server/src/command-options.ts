import { parseArgs } from 'node:util';
import { UsageError } from '@larr/core';

type Options = Readonly<Record<string, { type: 'string' } | { type: 'boolean'; default: boolean }>>;

/** Options that every sub-command of larr-server has. */
const SHARED = {
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

/**
 * Reads the words and options of a sub-command of larr-server (`keys`, `store`): its own ones, --json and --help.
 * @param command what the message calls it
 * @throws UsageError OPTION_UNKNOWN
 */
export function readCommand<const O extends Options>(
  command: string,
  args: readonly string[],
  options: O,
): ReturnType<typeof parseArgs<{ allowPositionals: true; options: O & typeof SHARED }>> {
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options: { ...options, ...SHARED } });
  } catch (error) {
    throw new UsageError(
      'OPTION_UNKNOWN',
      `${command}: ${(error as Error).message.split('. ', 1)[0]}; --help lists the options`,
    );
  }
}

/** @throws UsageError OPTION_MISSING */
export function wanted(command: string, value: string | undefined, what: string): string {
  if (value === undefined || value === '') throw new UsageError('OPTION_MISSING', `${command}: ${what} is missing`);
  return value;
}
