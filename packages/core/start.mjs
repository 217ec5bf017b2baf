// Starts a program of LARR whose TypeScript, or whose packages, may not be built: what is missing is said in a line, and what to do.
// Plain JavaScript, because it has to run where nothing is built.
import { fileURLToPath } from 'node:url';

/** What node says where something that is imported is not there, or is for another machine. */
const NOT_THERE = new Set(['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND', 'ERR_DLOPEN_FAILED']);

/**
 * Ends the program with a line where it is interrupted before it listens itself, or while nothing of it does.
 * @param {string} name what the program is called
 */
function endWithALine(name) {
  for (const signal of ['SIGINT', 'SIGTERM'])
    process.on(signal, () => {
      if (process.listenerCount(signal) > 1) return;
      process.stderr.write(`\n${name}: ${signal}: interrupted [INTERRUPTED]\n`);
      if (process.argv.includes('--json'))
        process.stdout.write(`${JSON.stringify({ error: { code: 'INTERRUPTED', message: 'interrupted' } })}\n`);
      process.exit(1);
    });
}

/**
 * Imports a program's main module, which runs it.
 * @param {string} name what the program is called, for the message
 * @param {URL} main its main module
 */
export async function start(name, main) {
  endWithALine(name);
  try {
    await import(main.href);
  } catch (error) {
    if (!NOT_THERE.has(error?.code)) throw error;
    const what = error.url === undefined ? error.message.split('\n', 1)[0] : `${fileURLToPath(error.url)} is missing`;
    const message = `LARR is not built, or not built whole: ${what}. Run \`npm run setup\` in the project: it builds what is missing, and says what that takes`;
    process.stderr.write(`${name}: ${message} [NOT_BUILT]\n`);
    if (process.argv.includes('--json'))
      process.stdout.write(`${JSON.stringify({ error: { code: 'NOT_BUILT', message } })}\n`);
    process.exitCode = 1;
  }
}
