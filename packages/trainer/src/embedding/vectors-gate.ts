import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError } from '@larr/core';
import { z } from 'zod';

const Findings = z.object({
  checks: z.array(
    z.object({
      name: z.string(),
      verdict: z.enum(['passed', 'failed', 'not judged']),
      value: z.number().nullable(),
      error: z.number(),
      threshold: z.number().nullable(),
      reason: z.string(),
    }),
  ),
});
type Check = z.infer<typeof Findings>['checks'][number];

/**
 * Makes sure that stage 3 may take the vectors of a directory, by the gate's findings that `embed` left there (gate.json). A check refuses
 * them whose value falls short of its threshold by more than its standard error; within that it is undecided, which is said. Vectors of stage
 * 1 alone have no findings: they are taken.
 * @param ignore vectors that fall short are taken too, and that is said
 * @throws DataError `GATE_FAILED` naming every check that fell short and its value, `GATE_CORRUPT`
 */
export async function requireGate(
  directory: string,
  { ignore, say }: { ignore: boolean; say(message: string): void },
): Promise<void> {
  const path = join(directory, 'gate.json');
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) return;
  const checks = checksOf(text);
  if (checks === null) {
    if (!ignore)
      throw new DataError('GATE_CORRUPT', `${unreadable(path)}, or take the vectors all the same with --ignore-gate`, {
        file: path,
      });
    return say(unreadable(path));
  }
  const short = checks.filter(({ verdict }) => verdict === 'failed');
  const reasons = (some: Check[]) => some.map(({ name, reason }) => `${name}: ${reason}`).join('; ');
  const failed = short.filter((check) => !undecided(check));
  if (failed.length > 0 && !ignore)
    throw new DataError(
      'GATE_FAILED',
      `the vectors of ${directory} fail their gate (${reasons(failed)}). Train the language model for longer or on more data, or take them all the same with --ignore-gate`,
      { file: path },
    );
  if (failed.length > 0)
    say(`${directory}: the vectors fail their gate and are taken all the same (${reasons(failed)})`);
  const near = short.filter(undecided);
  if (near.length > 0) say(`${directory}: within the standard error of the gate, so undecided: ${reasons(near)}`);
}

/** Why stage 3 would not take the vectors of a directory as they are; null where it would. */
export async function gateRefusal(directory: string): Promise<string | null> {
  try {
    await requireGate(directory, { ignore: false, say: () => {} });
    return null;
  } catch (error) {
    if (error instanceof DataError) return error.message;
    throw error;
  }
}

function undecided({ value, error, threshold }: Check): boolean {
  return value !== null && threshold !== null && value + error >= threshold;
}

function checksOf(text: string): Check[] | null {
  try {
    return Findings.parse(JSON.parse(text)).checks;
  } catch {
    return null;
  }
}

const unreadable = (path: string): string =>
  `${path} is damaged or of an older version: run "larr finetune" and "larr embed" anew to have the vectors judged`;
