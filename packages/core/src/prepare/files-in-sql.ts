import { existsSync } from 'node:fs';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { literal } from '../duckdb/session.js';

/**
 * SQL whose names of files start where the schema lies, as a table's path does, and not where the program was called from. Names of files are texts that
 * stand where DuckDB takes a file: as a table (`FROM 'a.csv', 'b.csv' JOIN 'c.parquet'`), as the first argument of a function that reads files, alone or in
 * a list (`read_csv(['a.csv', 'b.csv'])`), and behind ATTACH. All other texts are data and stay, as does a name that leads to nothing there.
 * @param target the directory that the names are to start from; without it they are whole paths
 */
export function filesFrom(sql: string, baseDirectory: string, target?: string): string {
  let placed = '';
  let done = 0;
  for (const { from, to, text } of filesIn(sql)) {
    const path =
      pathFrom(text, baseDirectory) ??
      (target !== undefined && isAbsolute(text) ? pathFrom(relative(baseDirectory, text), baseDirectory) : null);
    if (path === null) continue;
    placed += sql.slice(done, from) + literal(target === undefined ? path : relative(resolve(target), path));
    done = to;
  }
  return placed + sql.slice(done);
}

/** The names of files in a statement, as they stand there. */
export function filesNamed(sql: string): string[] {
  return filesIn(sql).map(({ text }) => text);
}

/** Where a file of the schema's directory lies; null where the text names none. */
function pathFrom(text: string, baseDirectory: string): string | null {
  if (!/[^\n]\.(?:parquet|csv|tsv|txt|jsonl|ndjson|json|duckdb|db|sqlite)(?:\.gz|\.zst)?$/i.test(text)) return null;
  if (text.includes('\n') || isAbsolute(text) || /^[a-z][a-z0-9+]+:/i.test(text)) return null;
  const found = resolve(baseDirectory, text);
  // Of a pattern the folder has to be there.
  const pattern = found.search(/[*?[]/);
  return existsSync(pattern < 0 ? found : dirname(found.slice(0, pattern + 1))) ? found : null;
}

interface Token {
  /** `text` is a literal, `name` a quoted identifier, `word` a bare word, in lower case; all else is a `mark` of one character. */
  kind: 'text' | 'name' | 'word' | 'mark';
  /** What it says, without quotes. */
  text: string;
  from: number;
  to: number;
}

const TOKEN =
  /(?<space>\s+|--[^\r\n]*)|(?<comment>\/\*)|[eE]'(?<escaped>(?:[^'\\]|\\.|'')*)'|'(?<plain>(?:[^']|'')*)'|\$(?<tag>[\p{L}_][\p{L}\p{N}_]*)?\$(?<dollar>.*?)\$\k<tag>\$|"(?<name>(?:[^"]|"")*)"|(?<word>[\p{L}\p{N}_][\p{L}\p{N}_$]*)|(?<mark>.)/suy;

/** The tokens of a statement, as far as it takes to know texts from what is around them. Comments are none. */
function tokensOf(sql: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < sql.length; ) {
    TOKEN.lastIndex = at;
    const { 0: all, groups = {} } = TOKEN.exec(sql)!;
    const from = at;
    at += all.length;
    const { space, comment, escaped, plain, dollar, name, word, mark } = groups;
    const add = (kind: Token['kind'], text: string) => tokens.push({ kind, text, from, to: at });
    if (space !== undefined) continue;
    if (comment !== undefined) at = commentEnd(sql, at);
    // Nobody writes a file's name with escapes; the quote in it must not be taken for its end.
    else if (escaped !== undefined) add('text', escaped.includes('\\') ? '' : escaped.replaceAll("''", "'"));
    else if (plain !== undefined) add('text', plain.replaceAll("''", "'"));
    else if (dollar !== undefined) add('text', dollar);
    else if (name !== undefined) add('name', name.replaceAll('""', '"'));
    else if (word !== undefined) add('word', word.toLowerCase());
    else add('mark', mark!);
  }
  return tokens;
}

/** Where a comment ends whose beginning ends at `at`: they may hold others. */
function commentEnd(sql: string, at: number): number {
  const bound = /\/\*|\*\//g;
  bound.lastIndex = at;
  for (let depth = 1; depth > 0; ) {
    const found = bound.exec(sql);
    if (found === null) return sql.length;
    depth += found[0] === '/*' ? 1 : -1;
  }
  return bound.lastIndex;
}

/** Functions whose first argument is a file or a list of files. */
const READERS = /^(?:read_\w+|\w+_scan|parquet_\w+|sniff_csv|sqlite_(?:attach|query)|st_read\w*|glob)$/i;
/** Functions with a FROM that no table follows. */
const WITH_FROM = /^(?:extract|substring|overlay|trim)$/;
/** What ends a list of tables. */
const AFTER_TABLES =
  /^(?:where|group|having|order|limit|offset|window|qualify|select|values|set|union|except|intersect|returning)$/;
const BEFORE_ATTACHED = /^(?:or|replace|database|if|not|exists)$/;

/** A pair of brackets that is open. */
interface Frame {
  /** Of which function these are the arguments; '' of none. */
  call: string;
  /** Texts in it are files: all of a list's, the first of a reader's arguments. */
  files: 'all' | 'first' | null;
  /** Tables are listed. */
  tables: boolean;
}

/** What a text would be that comes next: a table, the first of tables that may stand in brackets, a file to attach, or a reader's. */
type Place = 'table' | 'tables' | 'attached' | 'argument';

/** The texts of a statement that stand where a file does. */
function filesIn(sql: string): Token[] {
  const tokens = tokensOf(sql);
  const files: Token[] = [];
  const named = commonTables(tokens);
  const outermost = (): Frame => ({ call: '', files: null, tables: false });
  let open: Frame[] = [outermost()];
  let next: Place | null = null;
  for (const [i, token] of tokens.entries()) {
    const [last, following] = [tokens[i - 1], tokens[i + 1]];
    const frame = open.at(-1)!;
    const expected: Place | null = next;
    next = null;
    if (token.kind === 'text') {
      const whole = [',', ')', ']', ':'].some((mark) => isMark(following, mark));
      if (expected === 'argument' ? whole : expected !== null && !named.has(token.text)) files.push(token);
    } else if (token.kind === 'word' && !isMark(last, '.')) {
      const { text } = token;
      if (text === 'from') {
        const compares = last?.text === 'distinct' && /^(?:is|not)$/.test(tokens[i - 2]?.text ?? '');
        if (compares || WITH_FROM.test(frame.call)) continue;
        frame.tables = true;
        next = 'tables';
      } else if (text === 'join') {
        frame.tables = true;
        next = 'tables';
      } else if (/^(?:pivot|unpivot|summarize|describe)$/.test(text)) next = 'table';
      else if (text === 'attach') next = 'attached';
      else if (text === 'lateral' || (expected === 'attached' && BEFORE_ATTACHED.test(text))) next = expected;
      else if (AFTER_TABLES.test(text)) frame.tables = false;
      // An operator is called so too.
      else if (text === 'glob' && expected !== 'tables') token.text = '';
    } else if (isMark(token, '(')) {
      const call = last?.kind === 'word' || last?.kind === 'name' ? last.text : '';
      const list = call === 'list_value' && frame.files !== null;
      const reads: Frame['files'] = list ? 'all' : READERS.test(call) ? 'first' : null;
      open.push({ call, files: reads, tables: false });
      if (reads !== null || expected === 'argument') next = 'argument';
      else if (expected === 'tables') next = 'tables';
    } else if (isMark(token, '[')) {
      open.push({ call: '', files: frame.files === null ? null : 'all', tables: false });
      if (frame.files !== null) next = 'argument';
    } else if (isMark(token, '{')) open.push(outermost());
    else if (isMark(token, ')') || isMark(token, ']') || isMark(token, '}')) {
      if (open.length > 1) open.pop();
    } else if (isMark(token, ',')) {
      if (frame.files === 'first') frame.files = null;
      if (frame.files === 'all') next = 'argument';
      else if (frame.tables) next = 'tables';
    } else if (isMark(token, ';')) open = [outermost()];
  }
  return files;
}

const isMark = (token: Token | undefined, mark: string): boolean => token?.kind === 'mark' && token.text === mark;

/** Names in quotes of a query's own tables, WITH "a.csv" AS …: they come before a file of that name. */
function commonTables(tokens: readonly Token[]): Set<string> {
  const names = tokens.filter(
    ({ kind }, i) =>
      kind === 'name' &&
      (/^(?:with|recursive)$/.test(tokens[i - 1]?.text ?? '') || isMark(tokens[i - 1], ',')) &&
      tokens[i + 1]?.text === 'as' &&
      (isMark(tokens[i + 2], '(') || /^(?:not|materialized)$/.test(tokens[i + 2]?.text ?? '')),
  );
  return new Set(names.map(({ text }) => text));
}
