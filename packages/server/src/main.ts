import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { exitCode, LarrError, UsageError } from '@larr/core';
import { DEFAULT_RANKER_MEMORY_MIB, RANKER_KINDS, type RankerKind } from './ranking/ranker-lane.js';
import { FRONT_OPTIONS, FRONT_USAGE, readFrontOptions } from './security/front-options.js';
import { runKeysCommand } from './security/key-commands.js';
import { createServer, type RunningServer, type ServerOptions } from './server.js';
import { runStoreCommand } from './store/store-commands.js';

const USAGE = `larr-server --bundle DIR [options]
larr-server keys add|list|revoke --keys FILE …
larr-server store list|drop --store DIR|URL …

Serves a bundle over HTTP: POST /v1/rank, /healthz, /readyz, /metrics, /openapi.json. "keys" makes the keys that it asks for,
"store" lists and drops what an online store keeps.

  --bundle DIR            bundle written by "larr export"
  --bundles DIR           let POST /v1/admin/reload load other bundles below this directory
  --watch                 load what lies at --bundle again when another bundle is put there: by a rename or a moved link,
                          never by writing into the files of the one that is served, which are mapped
  --store DIR|URL         online store of users' and POIs' features: a directory, or redis://HOST:PORT, rediss://…, redis-cluster://H:P,H:P
                          (by default one of this process alone, filled from the bundle at every start)
  --host HOST             address to listen on (127.0.0.1)
  --port PORT             port to listen on, 0 picks a free one (8080)
  --unseen FILE           list scene texts without an embedding there, for "larr embed --texts"
  --events DIR            take events on POST /v1/events, into an append-only log there
  --sink URL              pass events on: redis://HOST:PORT?stream=NAME or kafka://HOST:PORT/TOPIC (needs --events); may be given again
  --experiments DIR       keep and run experiments there (needs --events)
  --runs DIR              show the runs below this directory in the console
  --no-console            do not serve the console under /console/
  --ranker KIND           what scores: native, or onnx (native where the bundle has a program for it)
  --ranker-memory MIB     memory in which the native ranker keeps what follows from POIs alone (${DEFAULT_RANKER_MEMORY_MIB})
  --threads N             threads that compute: those of the kernels, and with --ranker onnx as many of onnxruntime
                          (LARR_THREADS, else ${Math.min(8, availableParallelism())} here)
  --max-candidates N      most candidates in a request (2000)
  --max-queued-rows N     candidates that may wait before requests are refused with 503 (65536)
${FRONT_USAGE}  --json                  print {"host","port","url","adminUrl","model"} on stdout when ready,
                          {"error":{"code","message"}} on failure
  --help                  this text

Exit status: 0 stopped on request, 1 failed, 2 the command or a file of settings has to be changed.
`;

/** @returns 0, stopped on request; what is thrown has its status by `exitCode` */
async function main(): Promise<number> {
  const args = process.argv.slice(2);
  if (args[0] === 'keys' || args[0] === 'store') {
    const command = args[0] === 'keys' ? runKeysCommand : runStoreCommand;
    const { stdout, stderr } = await command(args.slice(1));
    process.stderr.write(stderr);
    process.stdout.write(stdout);
    return 0;
  }
  const options = readOptions(args);
  if (options === null) {
    process.stderr.write(USAGE);
    return 0;
  }
  // The kernels take their threads from the environment, when they are first used.
  process.env.LARR_THREADS = String(options.server.threads);
  const server = await createServer(options.server);
  const stopped = stopOnSignal(server);
  try {
    await server.ready;
  } catch (error) {
    await server.close();
    throw error;
  }
  const { host, port, url, adminUrl, model } = server;
  process.stderr.write(`larr-server: ready on ${url}${adminUrl === null ? '' : `, administration on ${adminUrl}`}\n`);
  if (options.json) process.stdout.write(`${JSON.stringify({ host, port, url, adminUrl, model })}\n`);
  await stopped;
  return 0;
}

function readOptions(args: string[]): { server: ServerOptions; json: boolean } | null {
  const { values } = parse(args);
  if (values.help) return null;
  if (values.bundle === undefined)
    throw new UsageError('BUNDLE_MISSING', '--bundle DIR is missing: the directory that "larr export" wrote');
  return {
    json: values.json,
    server: {
      bundle: values.bundle,
      watch: values.watch,
      ...(values.bundles === undefined ? {} : { bundles: values.bundles }),
      ...(values.store === undefined ? {} : { store: values.store }),
      ...(values.unseen === undefined ? {} : { unseen: values.unseen }),
      host: values.host,
      port: wholeNumber('--port', values.port, 0, 65_535),
      ...(values.events === undefined ? {} : { events: values.events }),
      sinks: values.sink,
      ...(values.experiments === undefined ? {} : { experiments: values.experiments }),
      ...(values.runs === undefined ? {} : { runs: values.runs }),
      console: !values['no-console'],
      ...(values.ranker === undefined ? {} : { ranker: rankerKind(values.ranker) }),
      rankerMemory: wholeNumber('--ranker-memory', values['ranker-memory'], 0, 1 << 24) * 2 ** 20,
      threads: threadsOf(values.threads),
      front: readFrontOptions(values, (option, text) => wholeNumber(option, text, 0, 65_535)),
      limits: { candidates: wholeNumber('--max-candidates', values['max-candidates'], 1, 100_000) },
      queue: { queuedRows: wholeNumber('--max-queued-rows', values['max-queued-rows'], 1, 100_000_000) },
    },
  };
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        bundle: { type: 'string' },
        bundles: { type: 'string' },
        watch: { type: 'boolean', default: false },
        store: { type: 'string' },
        unseen: { type: 'string' },
        host: { type: 'string', default: '127.0.0.1' },
        port: { type: 'string', default: '8080' },
        events: { type: 'string' },
        sink: { type: 'string', multiple: true, default: [] as string[] },
        experiments: { type: 'string' },
        runs: { type: 'string' },
        'no-console': { type: 'boolean', default: false },
        ranker: { type: 'string' },
        'ranker-memory': { type: 'string', default: String(DEFAULT_RANKER_MEMORY_MIB) },
        threads: { type: 'string' },
        'max-candidates': { type: 'string', default: '2000' },
        'max-queued-rows': { type: 'string', default: '65536' },
        ...FRONT_OPTIONS,
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new UsageError('OPTION_UNKNOWN', `${(error as Error).message.split('. ', 1)[0]}; --help lists the options`);
  }
}

/** What `--threads` says, else LARR_THREADS, else the machine's processors, at most 8. */
function threadsOf(option: string | undefined): number {
  if (option !== undefined) return wholeNumber('--threads', option, 1, 1024);
  const { LARR_THREADS } = process.env;
  if (LARR_THREADS !== undefined && LARR_THREADS !== '') return wholeNumber('LARR_THREADS', LARR_THREADS, 1, 1024);
  return Math.min(8, availableParallelism());
}

function rankerKind(text: string): RankerKind {
  const kind = RANKER_KINDS.find((one) => one === text);
  if (kind === undefined)
    throw new UsageError('OPTION_INVALID', `--ranker ${text}: one of ${RANKER_KINDS.join(', ')} is expected`);
  return kind;
}

function wholeNumber(option: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < least || value > most) {
    throw new UsageError('OPTION_INVALID', `${option} ${text}: a whole number from ${least} to ${most} is expected`);
  }
  return value;
}

/** Signals closer together than this are one wish: a terminal's Ctrl-C reaches this process and a parent that hands it on. */
const SAME_WISH_MS = 500;

/**
 * Resolves when SIGTERM, SIGINT or SIGHUP came, or the process that started this one over a channel is gone, and what was in flight has been
 * answered. Another signal later ends the process at once.
 */
function stopOnSignal(server: RunningServer): Promise<void> {
  return new Promise((resolve, reject) => {
    let first: number | null = null;
    const stop = (why: string): void => {
      if (first === null) {
        first = performance.now();
        process.stderr.write(`larr-server: ${why}, finishing what is in flight\n`);
        // Whatever a step of closing waits for, the process does not end in the middle of it for want of work.
        const closing = setInterval(() => {}, 1000);
        server
          .close()
          .finally(() => clearInterval(closing))
          .then(resolve, reject);
      } else if (performance.now() - first > SAME_WISH_MS) {
        process.exit(1);
      }
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
    // `larr serve` holds the other end of the channel: killed, it hands on no signal.
    if (process.connected) process.once('disconnect', () => stop('the process that started this one is gone'));
    // The channel alone shall not keep a stopped server alive, nor a terminal that is gone break its stop.
    process.channel?.unref();
    process.stderr.on('error', () => {});
  });
}

try {
  process.exitCode = await main();
} catch (error) {
  const code = error instanceof LarrError ? error.code : ((error as NodeJS.ErrnoException).code ?? 'INTERNAL');
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`larr-server: ${code}: ${message}\n`);
  if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
  process.exitCode = exitCode(error);
}
