import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { type AddressInfo, createServer as createListener } from 'node:net';
import { resolve } from 'node:path';
import { type DirectoryLock, LarrError, lockDirectory, mustBeDirectory, namedBadLines, UsageError } from '@larr/core';
import { createApp } from './api/app.js';
import type { ModelIdentity } from './api/contracts/index.js';
import { type AppState, DEFAULT_LIMITS, type Limits } from './api/state.js';
import { type ClosingStep, closeAll } from './closing.js';
import { EventLog, type LogDamage } from './events/event-log.js';
import { forwardEvents } from './events/sinks/forward-events.js';
import { parseSink } from './events/sinks/sink.js';
import { Experiments } from './experiments/experiments.js';
import { createMetrics, type Metrics } from './observability/metrics.js';
import { loadRankingModel } from './ranking/load-model.js';
import { bundleStamp, ModelRegistry, type RegistryEvent, watchBundle } from './ranking/model-registry.js';
import { DEFAULT_QUEUE, type QueueLimits } from './ranking/ranker.js';
import type { RankerKind } from './ranking/ranker-lane.js';
import { RunDirectory } from './run-directories/run-directory.js';
import { UnseenTexts } from './scene/unseen-texts.js';
import { type FrontOptions, type OpenFront, openFront } from './security/front.js';
import { openStore } from './store/open-store.js';
import type { Store } from './store/store.js';

/** Who has not read their answer, or finished their question, this long after a stop was asked for is cut off. */
const STOP_DEADLINE_MS = 10_000;

export interface ServerOptions {
  /** Bundle directory, as `larr export` writes it. */
  bundle: string;
  /** Directory that other bundles may be loaded from by name, over `POST /v1/admin/reload`; without it, none may. */
  bundles?: string;
  /** Load what lies at `bundle` again when another bundle is put there. */
  watch?: boolean;
  /**
   * The online store of users' and POIs' features: a directory (LMDB) or a redis://, rediss:// or redis-cluster:// URL. By default one of this
   * process alone, filled from the bundle when it is loaded and gone afterwards.
   */
  store?: string;
  /** Address to listen on; 127.0.0.1 by default, so that nothing is open to others by accident. */
  host?: string;
  /** 0 picks a free one. */
  port?: number;
  /** File that scene texts without an embedding are listed in, for `larr embed --texts`. */
  unseen?: string;
  /** Directory of the event log; without it the server takes no events. */
  events?: string;
  /** Where events are passed on to: `redis://…?stream=NAME`, `kafka://…/TOPIC`; needs `events`. */
  sinks?: readonly string[];
  /** Directory that experiments are kept in; without it, none run. Exposures go to the event log, so `events` is needed. */
  experiments?: string;
  /** Directory whose runs the console shows; without it, none. */
  runs?: string;
  /** Whether the console is served under /console/; it is by default. */
  console?: boolean;
  /** Threads of the ranker; the machine's cores, at most 8, by default. */
  threads?: number;
  /** what scores; by default native where the bundle has a program for it */
  ranker?: RankerKind;
  /** bytes in which the native ranker keeps what follows from POIs alone */
  rankerMemory?: number;
  limits?: Partial<Limits>;
  queue?: Partial<QueueLimits>;
  /** Keys, rates, origins, TLS, a second port, the log: by default only this machine may ask, and may do everything. */
  front?: FrontOptions;
}

export interface RunningServer {
  readonly host: string;
  readonly port: number;
  readonly url: string;
  /** Of the second port, where there is one. */
  readonly adminUrl: string | null;
  /** The model that answers; null until `ready`. */
  readonly model: ModelIdentity | null;
  /** Resolves when rank requests are answered; rejects with the bundle's error when it cannot be served. */
  readonly ready: Promise<void>;
  /** Stops accepting, finishes what is in flight, releases the model. May be called twice. */
  close(): Promise<void>;
}

const say = (text: string) => process.stderr.write(`larr-server: ${text}\n`);

/**
 * Counts what happened to bundles, and says it to the people who watch the server.
 * @param starting the bundle of a start that is not over: its failure ends the program, which says it
 */
function record(event: RegistryEvent, metrics: Metrics, starting: string | null): void {
  if (event.kind === 'loaded') {
    const { alias, model, path } = event.loaded;
    metrics.reloads.inc({ what: 'bundle', outcome: 'loaded' });
    say(`bundle ${model.identity.bundle} (${path}) answers as "${alias}" after ${event.seconds.toFixed(1)} s`);
  } else if (event.kind === 'failed') {
    const { alias, path, code, message } = event.failure;
    metrics.reloads.inc({ what: 'bundle', outcome: 'failed' });
    if (path !== starting) say(`${path} does not answer as "${alias}": ${code}: ${message}`);
  }
}

/** Counts what an event log held that is no event, and says it: the server starts all the same. */
function recordDamage(directory: string, { lines, places, torn }: LogDamage, metrics: Metrics): void {
  metrics.damagedLines.set({ what: 'skipped' }, lines);
  metrics.damagedLines.set({ what: 'torn' }, torn === null ? 0 : 1);
  if (torn !== null)
    say(
      `the event log ${directory} ended in ${torn.bytes} bytes of a line that was being written when the server was stopped: they were never acknowledged, and lie in ${torn.file} now`,
    );
  if (lines > 0)
    say(
      `the event log ${directory} has ${lines} ${lines === 1 ? 'line that is no event' : 'lines that are no events'}: ${namedBadLines({ count: lines, first: places })}. ` +
        'What is no event stays there and is passed over, all others are kept. `larr events compact --skip-bad-lines` leaves them out too',
    );
}

/** Says that a store has what no server of this version reads. Behind the start, and for nothing: a store that is away says nothing. */
async function tellOfEarlierData(store: Store): Promise<void> {
  const { keys } = await store.earlier({ glance: true }).catch(() => ({ keys: 0 }));
  if (keys > 0)
    say(
      `the online store has keys of an earlier version of LARR (${keys} seen), which this one does not read: users are loaded from the bundle anew, without what was changed since. ` +
        'When no server of that version runs any more, `larr-server store drop --store URL --earlier` removes them',
    );
}

const urlOf = (protocol: string, host: string, port: number): string =>
  `${protocol}://${host.includes(':') ? `[${host}]` : host}:${port}`;

/** What the system's refusal to listen means, and what to do about it. */
function cannotListen(error: NodeJS.ErrnoException, host: string, port: number): Error {
  const say = (code: string, message: string) => new LarrError(code, message, { cause: error });
  switch (error.code) {
    case 'EADDRINUSE':
      return say(
        'PORT_IN_USE',
        `port ${port} of ${host} is in use by another program. Stop that one, or take another port: --port ${port < 65_535 ? port + 1 : 8080}, or --port 0 for any that is free`,
      );
    case 'EACCES':
      return say(
        'PORT_FORBIDDEN',
        `port ${port} of ${host} is not this user's to listen on. Take one from 1024 up: --port 8080`,
      );
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return say(
        'ADDRESS_UNKNOWN',
        `${host} is no address of this machine. Use --host 127.0.0.1 for this machine alone, or --host 0.0.0.0 for all its networks (with --keys)`,
      );
    default:
      return error;
  }
}

/**
 * Whether an address can be listened on, before anything is loaded for it: a second server that was started by mistake should read no tables and
 * write no users into a store first.
 */
async function mustBeFree(host: string, port: number): Promise<void> {
  const listener = createListener();
  try {
    listener.listen({ host, port });
    await once(listener, 'listening');
    listener.close();
    await once(listener, 'close');
  } catch (error) {
    throw cannotListen(error as NodeJS.ErrnoException, host, port);
  }
}

const isDirectory = (place: string): Promise<boolean> =>
  stat(place).then(
    (found) => found.isDirectory(),
    () => false,
  );

/**
 * Loads the bundle and listens at once beside that, so that probes are answered.
 * @throws LarrError PORT_IN_USE, PORT_FORBIDDEN, ADDRESS_UNKNOWN when the address cannot be listened on; UsageError OUT_NOT_A_DIRECTORY, IN_USE for
 * `events`, EVENTS_MISSING, SINK_INVALID, BUNDLES_MISSING, STORE_URL; DataError EXPERIMENTS_CORRUPT, SINK_PLACE_UNREADABLE; those of openFront
 */
export async function createServer(options: ServerOptions): Promise<RunningServer> {
  const metrics = createMetrics();
  const host = options.host ?? '127.0.0.1';
  const wanted = options.port ?? 8080;
  const adminHost = options.front?.adminHost ?? '127.0.0.1';
  const wantedAdmin = options.front?.adminPort ?? 0;
  for (const [of, port] of [
    [host, wanted],
    [adminHost, wantedAdmin],
  ] as const)
    if (port !== 0) await mustBeFree(of, port);
  const runs = options.runs === undefined ? undefined : await RunDirectory.open(options.runs);
  if (options.bundles !== undefined && !(await isDirectory(options.bundles)))
    throw new UsageError(
      'BUNDLES_MISSING',
      `--bundles ${options.bundles} is not a directory: name one that holds bundles`,
    );
  if (options.events !== undefined) await mustBeDirectory(options.events);
  if (options.sinks !== undefined && options.sinks.length > 0) {
    if (options.events === undefined)
      throw new UsageError('EVENTS_MISSING', '--sink needs --events DIR: what is passed on comes from the event log');
    options.sinks.forEach(parseSink);
  }
  if (options.experiments !== undefined) {
    if (options.events === undefined)
      throw new UsageError(
        'EVENTS_MISSING',
        '--experiments needs --events DIR: exposures are written to the event log',
      );
    await mustBeDirectory(options.experiments);
  }
  // Two that append to one log would write an event twice.
  const lock = options.events === undefined ? null : lockDirectory(options.events, 'the event log');
  let bookLock: DirectoryLock | null = null;
  let events: EventLog | null = null;
  let front: OpenFront | null = null;
  let store: Store | null = null;
  let unseen: UnseenTexts | null = null;
  let stopForwarding: (() => Promise<void>) | null = null;
  const closeLog: ClosingStep[] = [
    ['the sinks', () => stopForwarding?.()],
    ['the event log', () => events?.close()],
    ['the lock of the event log', () => lock?.release()],
    ['the lock of the experiments', () => bookLock?.release()],
  ];
  const closeData: ClosingStep[] = [
    ['the online store', () => store?.close()],
    ['the list of unseen texts', () => unseen?.close()],
  ];
  /** Closes what was opened so far; the error that led here is the one that counts. */
  const giveUp = async (...first: ClosingStep[]): Promise<void> => {
    await closeAll([...first, ['the front', () => front?.close()], ...closeLog, ...closeData], say).catch(() => {});
  };
  try {
    unseen = options.unseen === undefined ? null : await UnseenTexts.open(options.unseen);
    store = await openStore(options.store ?? null);
    void tellOfEarlierData(store);
    front = await openFront(options.front ?? {}, host, metrics);
    if (options.events !== undefined) {
      const directory = options.events;
      events = await EventLog.open(directory, { onDamage: (damage) => recordDamage(directory, damage, metrics) });
    }
  } catch (error) {
    await giveUp();
    throw error;
  }
  let starting: string | null = options.bundle;
  const models = new ModelRegistry({
    load: (directory) =>
      loadRankingModel(directory, {
        threads: options.threads,
        ranker: options.ranker,
        rankerMemory: options.rankerMemory,
        queue: { ...DEFAULT_QUEUE, ...options.queue },
        onBatch: (rows) => metrics.batchRows.observe(rows),
        store,
        onStoreAway: () =>
          say(
            'the online store does not answer: users are ranked as unknown until it does, and theirs are loaded then',
          ),
      }),
    home: options.bundle,
    root: options.bundles === undefined ? null : resolve(options.bundles),
    onEvent: (event) => record(event, metrics, starting),
  });
  let experiments: Experiments | null = null;
  try {
    if (options.experiments !== undefined) {
      // Two servers that change one book would each forget what the other changed.
      if (resolve(options.experiments) !== resolve(options.events!))
        bookLock = lockDirectory(options.experiments, 'the directory of experiments');
      const onExposures = (count: number, outcome: 'written' | 'failed') => metrics.exposures.inc({ outcome }, count);
      const places = { directory: options.experiments, events: options.events!, onExposures };
      experiments = await Experiments.open(places, events!, models);
    }
    if (events !== null) stopForwarding = await forwardEvents(events, options.events!, options.sinks ?? [], metrics);
  } catch (error) {
    await giveUp();
    throw error;
  }
  const state: AppState = {
    models,
    events,
    experiments,
    unseen,
    runs,
    console: options.console ?? true,
    stopping: false,
  };
  const known = options.watch === true ? await bundleStamp(options.bundle) : null;
  // Before the application is made: files are read and checked by threads meanwhile.
  const ready = models.load(options.bundle).then(() => {
    if (!state.stopping) metrics.ready.set(1);
    // Until theirs are loaded too, experiments rest; what fails is told where it happens.
    void experiments?.loadMissing();
  });
  // Who does not look at `ready` still sees 503 from /readyz; an unhandled rejection would end the process.
  ready
    .catch(() => {})
    .finally(() => {
      starting = null;
    });
  const app = createApp({ state, metrics, limits: { ...DEFAULT_LIMITS, ...options.limits } }, front);
  let adminPort: number | null;
  let where: [string, number] = [host, wanted];
  const { level } = app.log;
  try {
    // Where it listens is said to people by the program that starts it, and is no line of the log.
    app.log.level = 'silent';
    await app.listen({ host, port: wanted });
    app.log.level = level;
    where = [adminHost, wantedAdmin];
    adminPort = await front.listenAdmin(app);
  } catch (error) {
    await giveUp(['the application', () => app.close()], ['the models', () => models.close()]);
    throw cannotListen(error as NodeJS.ErrnoException, ...where);
  }
  front.attach(app);
  const { port } = app.server.address() as AddressInfo;

  // A failure is told where it happens, and the bundle that answers goes on.
  const stopWatching =
    options.watch === true ? watchBundle(options.bundle, () => models.load(options.bundle), { known }) : null;

  let closing: Promise<void> | null = null;
  return {
    host,
    port,
    url: urlOf(front.listeners.protocol, host, port),
    adminUrl: adminPort === null ? null : urlOf(front.listeners.protocol, adminHost, adminPort),
    get model() {
      return models.current?.identity ?? null;
    },
    ready,
    close() {
      closing ??= (async () => {
        state.stopping = true;
        stopWatching?.();
        metrics.ready.set(0);
        const impatient = setTimeout(() => front.listeners.cutAll(), STOP_DEADLINE_MS);
        const ports = () => Promise.all([app.close(), front.close()]).finally(() => clearTimeout(impatient));
        const closeModels = () => ready.catch(() => {}).then(() => models.close());
        await closeAll([['the ports', ports], ...closeLog, ['the models', closeModels], ...closeData], say);
      })();
      return closing;
    },
  };
}
