import { type FileHandle, open, readFile } from 'node:fs/promises';
import { DataError, UsageError } from '@larr/core';

/** A scene text that no bundle had an embedding for. */
export interface UnseenText {
  field: string;
  text: string;
}

/** Texts kept at most: more are values that change with every request, which nobody wants embedded. */
const MOST = 100_000;
const WRITE_EVERY_MS = 1000;

/**
 * Scene texts that were asked for and are in no bundle, each once, in a file of JSON lines that `larr embed --texts` takes up. Written once a
 * second: a crash loses the last second's, which come again with the next request that has them.
 */
export class UnseenTexts {
  readonly #file: FileHandle;
  readonly #known: Set<string>;
  readonly #texts: UnseenText[];
  #lines: string[] = [];
  #timer: NodeJS.Timeout | null = null;
  #writing: Promise<void> = Promise.resolve();
  #failed: Error | null = null;

  private constructor(file: FileHandle, texts: UnseenText[]) {
    this.#file = file;
    this.#texts = texts;
    this.#known = new Set(texts.map(keyOf));
  }

  /**
   * Opens the list in a file, which is made if it is not there; a line that a crash cut short is left out.
   * @throws DataError UNSEEN_UNREADABLE where another line is not a text; UsageError of the same code where it is a directory
   */
  static async open(path: string): Promise<UnseenTexts> {
    const before = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '';
      if (error.code === 'EISDIR')
        throw new UsageError('UNSEEN_UNREADABLE', `--unseen ${path} is a directory: name a file to list texts in`);
      throw new DataError('UNSEEN_UNREADABLE', `${path} cannot be read: ${error.code}`, { file: path, cause: error });
    });
    const lines = before.split('\n');
    const cut = lines.pop()!;
    const texts = lines.map((line, i) => {
      const text = parsed(line);
      if (text === null)
        throw new DataError('UNSEEN_UNREADABLE', `${path}:${i + 1} is not a scene text: name another file`, {
          file: path,
          row: i + 1,
        });
      return text;
    });
    const file = await open(path, 'a');
    if (cut !== '') await file.truncate(Buffer.byteLength(before) - Buffer.byteLength(cut));
    return new UnseenTexts(file, texts);
  }

  /** All of them, in the order they came. */
  get texts(): readonly UnseenText[] {
    return this.#texts;
  }

  /** Why the last ones are not in the file; null where they are. */
  get failed(): Error | null {
    return this.#failed;
  }

  /** Takes up texts that are not in the list yet. */
  add(texts: readonly UnseenText[]): void {
    for (const { field, text } of texts) {
      if (this.#known.size >= MOST) return;
      const key = keyOf({ field, text });
      if (this.#known.has(key)) continue;
      this.#known.add(key);
      this.#texts.push({ field, text });
      this.#lines.push(`${JSON.stringify({ field, text })}\n`);
      this.#timer ??= setTimeout(() => this.#write(), WRITE_EVERY_MS).unref();
    }
  }

  /** Writes what waits, then closes the file. */
  async close(): Promise<void> {
    this.#write();
    await this.#writing;
    await this.#file.close();
  }

  #write(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const lines = this.#lines;
    if (lines.length === 0) return;
    this.#lines = [];
    this.#writing = this.#writing.then(async () => {
      try {
        await this.#file.appendFile(lines.join(''));
        await this.#file.datasync();
        this.#failed = null;
      } catch (error) {
        // they are tried again with the next ones
        this.#failed = error as Error;
        this.#lines.unshift(...lines);
      }
    });
  }
}

const keyOf = ({ field, text }: UnseenText): string => `${field}\u001f${text}`;

function parsed(line: string): UnseenText | null {
  try {
    const { field, text } = JSON.parse(line) as Partial<UnseenText>;
    return typeof field === 'string' && typeof text === 'string' ? { field, text } : null;
  } catch {
    return null;
  }
}
