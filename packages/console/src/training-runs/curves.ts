/** Values of one measure over the course of a run. */
export interface Curve {
  measure: string;
  /** what each line is of: the part (train, validation), the pair of texts, or the measure itself */
  lines: { label: string; points: { x: number; y: number }[] }[];
}

/** A number that a run told once. */
export interface Figure {
  measure: string;
  of: string | null;
  value: number;
}

/** What the x axis can be, the first that the rows have. */
const CLOCKS = ['step', 'epoch', 'row', 'tokens'] as const;
/** Other clocks and settings that run along, no outcome. */
const NO_MEASURES = new Set<string>([...CLOCKS, 'seed', 'seconds']);
/** Names of what a row is about. */
const KINDS = ['event', 'pair', 'part', 'model', 'phase', 'stage'] as const;

/**
 * Reads metrics.jsonl without knowing which stage wrote it: every number becomes a curve over the steps, one line for each kind of row; what has
 * a single value becomes a figure.
 */
export function curvesOf(rows: readonly Record<string, unknown>[]): {
  clock: string;
  curves: Curve[];
  figures: Figure[];
} {
  const clock = CLOCKS.find((name) => rows.filter((row) => typeof row[name] === 'number').length > 1) ?? 'row';
  const measures = new Map<string, Map<string, { x: number; y: number }[]>>();
  rows.forEach((row, i) => {
    const x = typeof row[clock] === 'number' ? row[clock] : i + 1;
    const kind = KINDS.map((name) => row[name]).find((value): value is string => typeof value === 'string');
    const add = (measure: string, line: string, y: unknown): void => {
      if (typeof y !== 'number' || !Number.isFinite(y)) return;
      const lines = measures.get(measure) ?? new Map<string, { x: number; y: number }[]>();
      measures.set(measure, lines);
      const points = lines.get(line) ?? [];
      lines.set(line, points);
      points.push({ x, y });
    };
    for (const [name, value] of Object.entries(row)) {
      if (NO_MEASURES.has(name)) continue;
      if (typeof value === 'object' && value !== null && !Array.isArray(value))
        for (const [part, inner] of Object.entries(value)) add(name, part, inner);
      else add(name, kind ?? '', value);
    }
  });
  const curves: Curve[] = [];
  const figures: Figure[] = [];
  for (const [measure, lines] of measures) {
    const drawn = [...lines].filter(([, points]) => points.length > 1);
    for (const [of, points] of lines)
      if (points.length === 1) figures.push({ measure, of: of === '' ? null : of, value: points[0]!.y });
    if (drawn.length > 0)
      curves.push({
        measure,
        lines: drawn.map(([label, points]) => ({ label: label === '' ? measure : label, points })),
      });
  }
  return { clock, curves: curves.sort((a, b) => weight(a.measure) - weight(b.measure)), figures };
}

/** Losses first, speeds and settings last. */
function weight(measure: string): number {
  if (/^loss$/i.test(measure)) return 0;
  if (/loss|perplexity/i.test(measure)) return 1;
  if (/auc|recall|accuracy/i.test(measure)) return 2;
  if (/persecond|seconds|rate|norm|temperature|tokens/i.test(measure)) return 4;
  return 3;
}

/** The lines of a curve over one x axis: null where a line has no value. */
export function aligned({ lines }: Curve): { x: number[]; values: (number | null)[][] } {
  const x = [...new Set(lines.flatMap(({ points }) => points.map((point) => point.x)))].sort((a, b) => a - b);
  const place = new Map(x.map((value, i) => [value, i]));
  const values = lines.map(({ points }) => {
    const row: (number | null)[] = x.map(() => null);
    for (const point of points) row[place.get(point.x)!] = point.y;
    return row;
  });
  return { x, values };
}

/** "ctrAuc" → "CTR AUC"; "tokensPerSecond" → "Tokens per second". */
export function measureName(name: string): string {
  const words = name
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replaceAll('_', ' ')
    .toLowerCase()
    .replaceAll(/\b(ctr|cvr|ctcvr|auc|gauc|gmv)\b/g, (word) => word.toUpperCase());
  return words.charAt(0).toUpperCase() + words.slice(1);
}
