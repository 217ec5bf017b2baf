import { type DuckDBConnection, DuckDBInstance, type DuckDBValue } from '@duckdb/node-api';

export interface DuckdbOptions {
  /** Database file; default in memory. */
  file?: string;
  /** DuckDB's limit for its own buffers, e.g. "2GB". */
  memoryLimit?: string;
  threads?: number;
  /** Where operators that outgrow the memory limit spill to. */
  temporaryDirectory?: string;
  /** What is thrown where a statement needs more memory than the limit; default DuckDB's own error. */
  outOfMemory?: (db: DuckdbSession, cause: unknown) => Promise<Error>;
  /** Interrupts what runs, and refuses what comes after; either throws the signal's reason. */
  signal?: AbortSignal;
}

/** An embedded DuckDB that closes when its scope ends (`using`). Row order is that of the input, times are UTC. */
export class DuckdbSession implements Disposable {
  readonly connection: DuckDBConnection;
  readonly #instance: DuckDBInstance;
  readonly #signal: AbortSignal | undefined;
  #outOfMemory: DuckdbOptions['outOfMemory'];
  #interrupting: NodeJS.Timeout | undefined;
  // DuckDB forgets an interruption that comes between preparing and executing a statement, so it is told until it has heard.
  readonly #interrupt = () => {
    this.connection.interrupt();
    this.#interrupting = setInterval(() => this.connection.interrupt(), 100);
  };
  private constructor(
    instance: DuckDBInstance,
    connection: DuckDBConnection,
    { signal, outOfMemory }: Pick<DuckdbOptions, 'signal' | 'outOfMemory'>,
  ) {
    this.#instance = instance;
    this.#outOfMemory = outOfMemory;
    this.connection = connection;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#interrupt);
  }

  static async open(options: DuckdbOptions = {}): Promise<DuckdbSession> {
    options.signal?.throwIfAborted();
    const settings: Record<string, string> = { preserve_insertion_order: 'true' };
    if (options.memoryLimit !== undefined) settings.memory_limit = options.memoryLimit;
    if (options.threads !== undefined) settings.threads = String(options.threads);
    if (options.temporaryDirectory !== undefined) settings.temp_directory = options.temporaryDirectory;
    const instance = await DuckDBInstance.create(options.file ?? ':memory:', settings);
    const connection = await instance.connect();
    // Counted, and never printed.
    await connection.run('SET enable_progress_bar = true; SET enable_progress_bar_print = false');
    return new DuckdbSession(instance, connection, options);
  }

  async run(statement: string): Promise<void> {
    await this.#abortable(() => this.connection.run(statement));
  }

  /** All rows of a small result. */
  async rows<T extends Record<string, DuckDBValue>>(query: string): Promise<T[]> {
    const reader = await this.#abortable(() => this.connection.runAndReadAll(query));
    return reader.getRowObjects() as T[];
  }

  /** The first row of a result that has one. */
  async row<T extends Record<string, DuckDBValue>>(query: string): Promise<T> {
    return (await this.rows<T>(query))[0]!;
  }

  /** Column names and types of a query, without running it. */
  async columns(query: string): Promise<Map<string, string>> {
    const rows = await this.rows<{ column_name: string; column_type: string }>(`DESCRIBE ${query}`);
    return new Map(rows.map((r) => [r.column_name, r.column_type]));
  }

  /** How much of the running statement is done, 0 … 1; null where DuckDB cannot tell. */
  queryProgress(): number | null {
    const { percentage } = this.connection.progress;
    return percentage < 0 ? null : percentage / 100;
  }

  /** @throws the signal's reason once it has been given */
  throwIfInterrupted(): void {
    this.#signal?.throwIfAborted();
  }

  /** An interrupted statement fails with DuckDB's words for it, as does one that outgrows the memory; what callers see is the reason why. */
  async #abortable<T>(work: () => Promise<T>): Promise<T> {
    this.#signal?.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      this.#signal?.throwIfAborted();
      const explain = this.#outOfMemory;
      if (explain === undefined || !/^Out of Memory Error/.test((error as Error).message)) throw error;
      // It asks the tables, and may run out again.
      this.#outOfMemory = undefined;
      const explained = await explain(this, error);
      this.#outOfMemory = explain;
      throw explained;
    }
  }

  [Symbol.dispose](): void {
    this.#signal?.removeEventListener('abort', this.#interrupt);
    clearInterval(this.#interrupting);
    this.connection.closeSync();
    this.#instance.closeSync();
  }
}

/** An identifier, quoted for SQL. */
export function ident(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A text literal, quoted for SQL. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
