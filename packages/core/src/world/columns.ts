import {
  BIGINT,
  DOUBLE,
  type DuckDBAppender,
  type DuckDBConnection,
  DuckDBDataChunk,
  type DuckDBType,
  FLOAT,
  INTEGER,
  SMALLINT,
  UTINYINT,
  VARCHAR,
} from '@duckdb/node-api';

const TYPES = { INTEGER, BIGINT, FLOAT, DOUBLE, SMALLINT, UTINYINT, VARCHAR } as const;
export type ColumnType = keyof typeof TYPES;
const CHUNK = 2048;

/** Appends rows to a DuckDB table, column by column in chunks of 2,048, in the order given. */
export class ColumnWriter {
  private rows = 0;
  private readonly values: (number | bigint | string | null)[][];
  private readonly types: DuckDBType[];

  private constructor(
    private readonly appender: DuckDBAppender,
    columns: Record<string, ColumnType>,
  ) {
    this.types = Object.values(columns).map((type) => TYPES[type]);
    this.values = this.types.map(() => new Array<number | bigint | string | null>(CHUNK));
  }

  /** Creates the table and a writer for it. */
  static async create(
    connection: DuckDBConnection,
    table: string,
    columns: Record<string, ColumnType>,
  ): Promise<ColumnWriter> {
    const list = Object.entries(columns).map(([name, type]) => `"${name}" ${type}`);
    await connection.run(`CREATE TABLE ${table} (${list.join(', ')})`);
    return new ColumnWriter(await connection.createAppender(table), columns);
  }

  /** Appends one row, in the order of the columns; `row` may be reused. */
  append(row: readonly (number | bigint | string | null)[]): void {
    for (let c = 0; c < row.length; c++) this.values[c]![this.rows] = row[c]!;
    if (++this.rows === CHUNK) this.flush();
  }

  private flush(): void {
    if (this.rows === 0) return;
    const chunk = DuckDBDataChunk.create(this.types, this.rows);
    for (const [c, values] of this.values.entries()) {
      const vector = chunk.getColumnVector(c);
      for (let r = 0; r < this.rows; r++) vector.setItem(r, values[r]!);
      vector.flush();
    }
    this.appender.appendDataChunk(chunk);
    this.rows = 0;
  }

  /** Writes what is left. */
  close(): void {
    this.flush();
    this.appender.closeSync();
  }
}
