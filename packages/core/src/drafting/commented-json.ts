/**
 * JSON with `//` comments: `head` at the top and `comments` (by dotted path) above their settings. What fits stays on one line.
 */
export function commentedJson(value: unknown, comments: ReadonlyMap<string, string>, head: readonly string[]): string {
  return `${head.map((line) => `// ${line}\n`).join('')}${write(value, '', '', comments)}\n`;
}

const width = 110;

function write(value: unknown, path: string, indent: string, comments: ReadonlyMap<string, string>): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const commented = [...comments.keys()].some((key) => key.startsWith(path === '' ? '' : `${path}.`));
  const flat = oneLine(value);
  if (!commented && flat.length + indent.length <= width) return flat;
  const inner = `${indent}  `;
  const items = Array.isArray(value)
    ? value.map((item) => `${inner}${write(item, `${path}[]`, inner, comments)}`)
    : Object.entries(value).map(([key, item]) => {
        const at = path === '' ? key : `${path}.${key}`;
        const comment = comments.get(at);
        return `${comment === undefined ? '' : `${inner}// ${comment}\n`}${inner}${JSON.stringify(key)}: ${write(item, at, inner, comments)}`;
      });
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return `${open}\n${items.join(',\n')}\n${indent}${close}`;
}

function oneLine(value: unknown): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(oneLine).join(', ')}]`;
  const entries = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${oneLine(item)}`);
  return entries.length === 0 ? '{}' : `{ ${entries.join(', ')} }`;
}

/** The JSON of a text with `//` comments: they become blanks, so that positions in messages stay right. */
export function withoutComments(text: string): string {
  return text.replace(/"(?:\\.|[^"\\])*"|\/\/[^\n]*/g, (found) =>
    found.startsWith('"') ? found : ' '.repeat(found.length),
  );
}
