/** Something to close, and what it is called where that fails. */
export type ClosingStep = readonly [what: string, close: () => unknown];

/**
 * Runs every step, one after another, whatever became of those before it: what is left open would keep the process alive, or a lock held.
 * @param say told of each failure
 * @throws the first failure, after the last step
 */
export async function closeAll(steps: readonly ClosingStep[], say: (text: string) => void): Promise<void> {
  const failures: unknown[] = [];
  for (const [what, close] of steps) {
    try {
      await close();
    } catch (error) {
      failures.push(error);
      say(`${what} could not be closed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (failures.length > 0) throw failures[0];
}
