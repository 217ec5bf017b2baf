// Memory of the two sides of a bench. Each is measured in a process of its own: in one that has run other cases, what those left with the
// allocators would hide some of it. A bench that tells memory exports `memory(argument, side)`, side 'ours' or 'peer', which makes
// what one call needs, then gives peakExtra() of the call.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';

const script = fileURLToPath(import.meta.url);

function status(pid, key) {
  const line = new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return 1024 * Number(line[1]);
}

/** The most memory a process has had so far, bytes; null where the system does not tell. */
export function peakMemory(pid) {
  return existsSync(`/proc/${pid}/status`) ? status(pid, 'VmHWM') : null;
}

/** Bytes by which a process's memory (resident) rises at its highest while `work` runs; null where the system does not tell. */
export async function peakExtra(work, pid = process.pid) {
  const forget = `/proc/${pid}/clear_refs`;
  if (!existsSync(forget)) return null;
  globalThis.gc?.();
  writeFileSync(forget, '5'); // the peak so far
  const before = status(pid, 'VmRSS');
  await work();
  return Math.max(0, status(pid, 'VmHWM') - before);
}

async function inChild(module, argument, side) {
  const child = spawn(process.execPath, ['--expose-gc', script, module, side, JSON.stringify(argument)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (data) => {
    said += data;
  });
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
  if (code !== 0) throw new Error(`the memory of ${module} (${side}) could not be measured: exit status ${code}`);
  return JSON.parse(said);
}

/** `{ours, peer}` in bytes, of `memory(argument, side)` of the bench `module` (its import.meta.url). */
export async function memories(module, argument) {
  return { ours: await inChild(module, argument, 'ours'), peer: await inChild(module, argument, 'peer') };
}

async function measure([module, side, argument]) {
  const { memory } = await import(module.startsWith('file:') ? module : pathToFileURL(module).href);
  const bytes = await memory(JSON.parse(argument), side);
  process.stdout.write(`${JSON.stringify(bytes)}\n`, () => process.exit(0));
}

// Not awaited: the bench imports this module, which must be there by then.
if (process.argv[1] === script) measure(process.argv.slice(2));
