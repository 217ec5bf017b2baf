/** Charts as inline SVG: no script, no network, colours from the page's CSS variables so that light and dark both work. */

export interface Series {
  name: string;
  /** index of the page's series colours */
  colour: number;
  points: { x: number; y: number }[];
}

export interface ChartOptions {
  title: string;
  x: string;
  y: string;
  /** drawn as a thin dashed line from corner to corner of the data range, as a calibration plot wants */
  diagonal?: boolean;
  markers?: boolean;
  /** x counts something: ticks at whole numbers only */
  wholeX?: boolean;
}

const WIDTH = 520;
const HEIGHT = 300;
const MARGIN = { top: 14, right: 14, bottom: 42, left: 70 };

/** A line chart. Series without points are left out; with none at all the chart says so. */
export function lineChart(series: Series[], options: ChartOptions): string {
  const drawn = series.filter((s) => s.points.length > 0);
  const points = drawn.flatMap((s) => s.points);
  if (points.length === 0) return figure(options.title, '<p class="quiet">nothing recorded</p>', []);
  let xRange = extent(points.map((p) => p.x));
  let yRange = extent(points.map((p) => p.y));
  if (options.diagonal) {
    const both: [number, number] = [Math.min(0, xRange[0], yRange[0]), Math.max(xRange[1], yRange[1])];
    xRange = both;
    yRange = both;
  } else {
    yRange = pad(yRange);
  }
  const xTicks = ticks(xRange[0], xRange[1], 6).filter((t) => !options.wholeX || Number.isInteger(t));
  const yTicks = ticks(yRange[0], yRange[1], 5);
  const sx = scale(xRange, [MARGIN.left, WIDTH - MARGIN.right]);
  const sy = scale(yRange, [HEIGHT - MARGIN.bottom, MARGIN.top]);
  const grid = [
    ...yTicks.map(
      (t) => `<line class="grid" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${sy(t)}" y2="${sy(t)}"/>`,
    ),
    ...yTicks.map(
      (t) =>
        `<text class="tick" x="${MARGIN.left - 8}" y="${sy(t)}" dy="0.32em" text-anchor="end">${label(t, yTicks)}</text>`,
    ),
    ...xTicks.map(
      (t) =>
        `<text class="tick" x="${sx(t)}" y="${HEIGHT - MARGIN.bottom + 18}" text-anchor="middle">${label(t, xTicks)}</text>`,
    ),
  ];
  const axis = `<line class="axis" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${HEIGHT - MARGIN.bottom}" y2="${HEIGHT - MARGIN.bottom}"/>`;
  const diagonal = options.diagonal
    ? `<line class="diagonal" x1="${sx(xRange[0])}" y1="${sy(xRange[0])}" x2="${sx(xRange[1])}" y2="${sy(xRange[1])}"/>`
    : '';
  const lines = drawn.map((s) => {
    const path = s.points.map((p, i) => `${i === 0 ? 'M' : 'L'}${sx(p.x)} ${sy(p.y)}`).join('');
    const dots = options.markers
      ? s.points
          .map(
            (p) =>
              `<circle cx="${sx(p.x)}" cy="${sy(p.y)}" r="3"><title>${escapeText(s.name)}: ${p.x.toFixed(4)}, ${p.y.toFixed(4)}</title></circle>`,
          )
          .join('')
      : '';
    return `<g class="series c${s.colour}"><path d="${path}"/>${dots}</g>`;
  });
  const svg =
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeText(options.title)}">` +
    grid.join('') +
    axis +
    diagonal +
    lines.join('') +
    `<text class="axis-name" x="${(MARGIN.left + WIDTH - MARGIN.right) / 2}" y="${HEIGHT - 6}" text-anchor="middle">${escapeText(options.x)}</text>` +
    `<text class="axis-name" transform="translate(14 ${(MARGIN.top + HEIGHT - MARGIN.bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeText(options.y)}</text>` +
    '</svg>';
  return figure(options.title, svg, drawn);
}

export interface DotRow {
  name: string;
  colour: number;
  mean: number;
  /** half the length of the whisker */
  spread: number | null;
  points: number[];
}

/** Means with their standard deviation and every seed's own value, one row per model, on one scale. */
export function dotPlot(rows: DotRow[], options: { title: string; x: string; ceiling: number | null }): string {
  const height = 46 + rows.length * 34;
  const left = 150;
  const values = rows.flatMap((r) => [r.mean - (r.spread ?? 0), r.mean + (r.spread ?? 0), ...r.points]);
  const range = pad(extent(values));
  const xTicks = ticks(range[0], range[1], 5);
  const sx = scale(range, [left, WIDTH - 20]);
  const body = rows.map((r, i) => {
    const y = 20 + i * 34;
    const whisker =
      r.spread === null
        ? ''
        : `<line class="whisker" x1="${sx(r.mean - r.spread)}" x2="${sx(r.mean + r.spread)}" y1="${y}" y2="${y}"/>`;
    const dots = r.points.map((p) => `<circle class="seed" cx="${sx(p)}" cy="${y}" r="3.5"/>`).join('');
    return (
      `<line class="grid" x1="${left}" x2="${WIDTH - 20}" y1="${y}" y2="${y}"/>` +
      `<text class="row-name" x="${left - 12}" y="${y}" dy="0.32em" text-anchor="end">${escapeText(r.name)}</text>` +
      `<g class="series c${r.colour}">${whisker}${dots}<circle class="mean" cx="${sx(r.mean)}" cy="${y}" r="6"><title>${escapeText(r.name)} ${r.mean.toFixed(4)}</title></circle></g>`
    );
  });
  const bottom = 20 + rows.length * 34;
  const axis = xTicks.map(
    (t) => `<text class="tick" x="${sx(t)}" y="${bottom + 4}" text-anchor="middle">${label(t, xTicks)}</text>`,
  );
  const svg =
    `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeText(options.title)}">${body.join('')}${axis.join('')}` +
    `<text class="axis-name" x="${(left + WIDTH - 20) / 2}" y="${height - 4}" text-anchor="middle">${escapeText(options.x)}</text></svg>`;
  const note =
    options.ceiling === null ? '' : `<p class="quiet">ceiling (true probabilities): ${options.ceiling.toFixed(4)}</p>`;
  return figure(options.title, svg + note, []);
}

export interface MarkedRow {
  name: string;
  colour: number;
  value: number;
  /** a thin line from here to the value */
  from?: number | undefined;
  /** a thick one over an interval */
  low?: number | undefined;
  high?: number | undefined;
  /** said at the end of the row */
  note: string;
}

/** One mark a row on one scale: differences with their intervals, or how far each gets from where it starts. */
export function rowChart(
  rows: MarkedRow[],
  options: { title: string; x: string; zero?: number; caption?: string },
): string {
  const [left, right, step] = [150, 120, 30];
  const values = rows.flatMap(({ value, from, low, high }) => [value, from ?? value, low ?? value, high ?? value]);
  const range = pad(extent(options.zero === undefined ? values : [...values, options.zero]));
  const xTicks = ticks(range[0], range[1], 4);
  const sx = scale(range, [left, WIDTH - right]);
  const bottom = 16 + rows.length * step;
  const grid = xTicks.map((t) => `<line class="grid" x1="${sx(t)}" x2="${sx(t)}" y1="4" y2="${bottom - 8}"/>`);
  const zero =
    options.zero === undefined
      ? ''
      : `<line class="axis" x1="${sx(options.zero)}" x2="${sx(options.zero)}" y1="4" y2="${bottom - 8}"/>`;
  const body = rows.map(({ name, colour, value, from, low, high, note }, i) => {
    const y = 18 + i * step;
    const line = (a: number, b: number, kind: string) =>
      `<line class="${kind}" x1="${sx(a)}" x2="${sx(b)}" y1="${y}" y2="${y}"/>`;
    return (
      `<text class="row-name" x="${left - 12}" y="${y}" dy="0.32em" text-anchor="end">${escapeText(name)}</text>` +
      `<g class="series c${colour}">${from === undefined ? '' : line(from, value, 'stem')}` +
      `${low === undefined || high === undefined ? '' : line(low, high, 'whisker')}<circle cx="${sx(value)}" cy="${y}" r="5"/></g>` +
      `<text class="row-note" x="${WIDTH - 4}" y="${y}" dy="0.32em" text-anchor="end">${escapeText(note)}</text>`
    );
  });
  const axis = xTicks.map(
    (t) => `<text class="tick" x="${sx(t)}" y="${bottom + 6}" text-anchor="middle">${label(t, xTicks)}</text>`,
  );
  const height = bottom + 32;
  const svg =
    `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeText(options.title)}">${grid.join('')}${zero}${body.join('')}${axis.join('')}` +
    `<text class="axis-name" x="${(left + WIDTH - right) / 2}" y="${height - 4}" text-anchor="middle">${escapeText(options.x)}</text></svg>`;
  return figure(
    options.title,
    svg + (options.caption ? `<p class="quiet">${escapeText(options.caption)}</p>` : ''),
    [],
  );
}

export interface BarPoint {
  /** what stands under it */
  label: string;
  mean: number;
  spread: number | null;
  points: number[];
  /** drawn with a ring, which the caption explains */
  marked: boolean;
}

/** A curve over some values of a setting, evenly spaced, with error bars and every seed's own value. */
export function sweepChart(
  points: BarPoint[],
  options: { title: string; x: string; y: string; colour: number; caption: string },
): string {
  const values = points.flatMap((p) => [p.mean - (p.spread ?? 0), p.mean + (p.spread ?? 0), ...p.points]);
  const yRange = pad(extent(values));
  const yTicks = ticks(yRange[0], yRange[1], 5);
  const sy = scale(yRange, [HEIGHT - MARGIN.bottom, MARGIN.top]);
  const width = WIDTH - MARGIN.left - MARGIN.right;
  const sx = (i: number) => Math.round((MARGIN.left + ((i + 0.5) * width) / points.length) * 10) / 10;
  const grid = yTicks.map(
    (t) =>
      `<line class="grid" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${sy(t)}" y2="${sy(t)}"/>` +
      `<text class="tick" x="${MARGIN.left - 8}" y="${sy(t)}" dy="0.32em" text-anchor="end">${label(t, yTicks)}</text>`,
  );
  const axis = `<line class="axis" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${HEIGHT - MARGIN.bottom}" y2="${HEIGHT - MARGIN.bottom}"/>`;
  const path = points.map((p, i) => `${i === 0 ? 'M' : 'L'}${sx(i)} ${sy(p.mean)}`).join('');
  const marks = points.map((p, i) => {
    const x = sx(i);
    const bar =
      p.spread === null
        ? ''
        : [p.mean - p.spread, p.mean + p.spread]
            .map((end) => `<line class="cap" x1="${x - 5}" x2="${x + 5}" y1="${sy(end)}" y2="${sy(end)}"/>`)
            .join('') +
          `<line class="cap" x1="${x}" x2="${x}" y1="${sy(p.mean - p.spread)}" y2="${sy(p.mean + p.spread)}"/>`;
    // Beside the bar, so that neither hides the other.
    const seeds = p.points.map((value) => `<circle class="seed" cx="${x + 10}" cy="${sy(value)}" r="2.5"/>`).join('');
    const ring = p.marked ? `<circle class="ring" cx="${x}" cy="${sy(p.mean)}" r="9"/>` : '';
    return (
      `${bar}${seeds}${ring}<circle cx="${x}" cy="${sy(p.mean)}" r="4.5"><title>${escapeText(p.label)}: ${p.mean.toFixed(4)}</title></circle>` +
      `<text class="tick" x="${x}" y="${HEIGHT - MARGIN.bottom + 18}" text-anchor="middle">${escapeText(p.label)}</text>`
    );
  });
  const svg =
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeText(options.title)}">${grid.join('')}${axis}` +
    `<g class="series c${options.colour}"><path d="${path}"/>${marks.join('')}</g>` +
    `<text class="axis-name" x="${(MARGIN.left + WIDTH - MARGIN.right) / 2}" y="${HEIGHT - 6}" text-anchor="middle">${escapeText(options.x)}</text>` +
    `<text class="axis-name" transform="translate(14 ${(MARGIN.top + HEIGHT - MARGIN.bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeText(options.y)}</text></svg>`;
  return figure(options.title, `${svg}<p class="quiet">${escapeText(options.caption)}</p>`, []);
}

export interface ScatterPoint {
  /** a number, or one of several values by name */
  x: number | string;
  y: number;
  /** from 0, faint, to 1, full */
  weight: number;
  marked: boolean;
}

/** Points over one setting; a logarithmic scale where the numbers span a decade or more, columns where they are no numbers. */
export function scatterChart(points: ScatterPoint[], options: { title: string; y: string; colour: number }): string {
  const [w, h] = [340, 210];
  const box = { top: 10, right: 12, bottom: 28, left: 54 };
  const yRange = pad(extent(points.map((p) => p.y)));
  const yTicks = ticks(yRange[0], yRange[1], 4);
  const sy = scale(yRange, [h - box.bottom, box.top]);
  const { sx, marks } = horizontal(
    points.map(({ x }) => x),
    [box.left, w - box.right],
  );
  const grid = yTicks.map(
    (t) =>
      `<line class="grid" x1="${box.left}" x2="${w - box.right}" y1="${sy(t)}" y2="${sy(t)}"/>` +
      `<text class="tick" x="${box.left - 7}" y="${sy(t)}" dy="0.32em" text-anchor="end">${label(t, yTicks)}</text>`,
  );
  const names = marks.map(
    ({ at, text }) =>
      `<text class="tick" x="${at}" y="${h - box.bottom + 16}" text-anchor="middle">${escapeText(text)}</text>`,
  );
  const dots = points.map(({ x, y, weight, marked }) => {
    const dot = `<circle cx="${sx(x)}" cy="${sy(y)}" r="4" style="opacity:${(0.25 + 0.75 * weight).toFixed(2)}"><title>${escapeText(String(x))}: ${y.toFixed(4)}</title></circle>`;
    return marked ? `${dot}<circle class="ring" cx="${sx(x)}" cy="${sy(y)}" r="8"/>` : dot;
  });
  const svg =
    `<svg viewBox="0 0 ${w} ${h}" role="img" aria-label="${escapeText(options.title)}">${grid.join('')}` +
    `<line class="axis" x1="${box.left}" x2="${w - box.right}" y1="${h - box.bottom}" y2="${h - box.bottom}"/>${names.join('')}` +
    `<g class="series c${options.colour}">${dots.join('')}</g></svg>`;
  return figure(options.title, svg, []);
}

/** Where values stand on a horizontal axis, and what is written under it. */
function horizontal(
  xs: (number | string)[],
  range: [number, number],
): { sx: (x: number | string) => number; marks: { at: number; text: string }[] } {
  const numbers = xs.filter((x): x is number => typeof x === 'number');
  const few = new Set(xs).size <= 4;
  if (numbers.length < xs.length || few) {
    const values = [...new Set(xs)].sort((a, b) => (typeof a === 'number' && typeof b === 'number' ? a - b : 0));
    const at = (x: number | string) =>
      Math.round((range[0] + ((values.indexOf(x) + 0.5) * (range[1] - range[0])) / values.length) * 10) / 10;
    return { sx: at, marks: values.map((x) => ({ at: at(x), text: String(x) })) };
  }
  const [low, high] = extent(numbers);
  const log = low > 0 && high / low >= 10;
  const to = (x: number) => (log ? Math.log10(x) : x);
  const place = scale(pad([to(low), to(high)]), range);
  const sx = (x: number | string) => place(to(x as number));
  if (!log) {
    const among = ticks(low, high, 4);
    return { sx, marks: among.map((t) => ({ at: sx(t), text: label(t, among) })) };
  }
  const decades = [];
  for (let e = Math.floor(to(low)); e <= Math.ceil(to(high)); e++)
    for (const m of high / low > 300 ? [1] : [1, 3]) decades.push(m * 10 ** e);
  const inside = decades.filter((t) => t >= low * 0.999 && t <= high * 1.001);
  return { sx, marks: inside.map((t) => ({ at: sx(t), text: String(Number(t.toPrecision(1))) })) };
}

function figure(title: string, body: string, legend: Series[]): string {
  const names = [...new Map(legend.map((s) => [s.name, s.colour]))];
  // With one series, the title says what it is.
  const keys = (names.length > 1 ? names : [])
    .map(([name, colour]) => `<span class="key"><i class="c${colour}"></i>${escapeText(name)}</span>`)
    .join('');
  return `<figure><figcaption>${escapeText(title)}</figcaption>${body}${keys ? `<div class="legend">${keys}</div>` : ''}</figure>`;
}

function extent(values: number[]): [number, number] {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low === high ? [low - 0.5 * Math.abs(low || 1) * 0.01, high + 0.5 * Math.abs(high || 1) * 0.01] : [low, high];
}

function pad([low, high]: [number, number]): [number, number] {
  const margin = (high - low) * 0.08;
  return [low - margin, high + margin];
}

function scale([d0, d1]: [number, number], [r0, r1]: [number, number]): (value: number) => number {
  return (value) => Math.round((r0 + ((value - d0) / (d1 - d0)) * (r1 - r0)) * 10) / 10;
}

/** Round values (1, 2, 5 × 10ⁿ apart) inside a range. */
export function ticks(low: number, high: number, wanted: number): number[] {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw)!;
  const out: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) out.push(i * step);
  return out;
}

function label(value: number, among: number[]): string {
  if (Math.abs(value) >= 10_000) return `${Math.round(value / 1000)}k`;
  const step = among.length > 1 ? Math.abs(among[1]! - among[0]!) : 1;
  return value.toFixed(Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9))));
}

export function escapeText(text: string): string {
  return text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!);
}
