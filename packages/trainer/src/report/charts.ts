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
