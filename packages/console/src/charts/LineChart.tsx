import 'uplot/dist/uPlot.min.css';
import './charts.css';
import { type KeyboardEvent, useEffect, useId, useRef, useState } from 'react';
import uPlot from 'uplot';
import { useDark } from '../shell/theme';
import { DAY, DAY_STEPS, xRange } from './axis';

export interface Line {
  label: string;
  /** as many as there are x; null where there is no value */
  values: readonly (number | null)[];
  /** number of the colour, from 0 */
  colour: number;
  dashed?: boolean;
  /** where the truth is thought to lie */
  band?: { low: readonly (number | null)[]; high: readonly (number | null)[] };
}

export interface LineChartProps {
  title: string;
  /** said under the title */
  note?: string;
  /** numbers, or seconds since 1970 where `time` is set */
  x: readonly number[];
  xLabel: string;
  time?: boolean;
  /** x are days in UTC, each at its beginning; with `time` */
  days?: boolean;
  lines: readonly Line[];
  format: (value: number) => string;
  formatX: (x: number) => string;
  /** at the axis; as `formatX` by default */
  formatTick?: (x: number) => string;
  /** a level to look at: 0 of a lift */
  level?: number;
  /** the axis begins at 0 */
  fromZero?: boolean;
  logarithmic?: boolean;
  height?: number;
}

/** Rows of the table that stands behind a chart; of more, evenly spaced ones. */
const TABLE_ROWS = 40;

/** A colour as the canvas takes it. Colours come from the page's style, so that both themes have their own; an element says which one holds. */
function colourOf(css: string): string {
  const probe = document.createElement('span');
  probe.style.color = css;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
const faded = (css: string, percent: number): string => colourOf(`color-mix(in srgb, ${css} ${percent}%, transparent)`);

/**
 * Lines over numbers or time, with bands where there are intervals. Read with the pointer or with the arrow keys; what the cursor stands on
 * is written below and said aloud, and the figures are there as a table.
 */
export function LineChart(props: LineChartProps) {
  const { title, note, x, xLabel, lines, format, formatX, height = 220 } = props;
  const id = useId();
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const [at, setAt] = useState<number | null>(null);
  const [said, setSaid] = useState('');
  const [asTable, setAsTable] = useState(false);
  const dark = useDark();
  const shape = JSON.stringify([
    title,
    dark,
    props.logarithmic,
    props.level,
    lines.map(({ label, colour, band, dashed }) => [label, colour, band !== undefined, dashed]),
  ]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: drawn anew where its shape changes; new values go in below
  useEffect(() => {
    const node = box.current;
    if (node === null) return;
    const options = chartOptions(props, node.clientWidth, (index) => setAt(index));
    const drawn = new uPlot(options, chartData(props), node);
    chart.current = drawn;
    const watch = new ResizeObserver(() => {
      if (node.clientWidth > 0 && node.clientWidth !== drawn.width) drawn.setSize({ width: node.clientWidth, height });
    });
    watch.observe(node);
    return () => {
      watch.disconnect();
      drawn.destroy();
      chart.current = null;
    };
  }, [shape, height]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: values alone
  useEffect(() => {
    chart.current?.setData(chartData(props));
  }, [x, lines]);

  const read = (index: number): string =>
    `${xLabel} ${formatX(x[index]!)}: ${lines
      .map(({ label, values }) => `${label} ${values[index] == null ? 'none' : format(values[index])}`)
      .join(', ')}`;
  const press = (event: KeyboardEvent): void => {
    const steps: Record<string, number> = {
      ArrowLeft: -1,
      ArrowRight: 1,
      PageUp: -10,
      PageDown: 10,
      Home: -x.length,
      End: x.length,
    };
    const step = steps[event.key];
    if (step === undefined || chart.current === null || x.length === 0) return;
    event.preventDefault();
    const index = Math.min(x.length - 1, Math.max(0, (at ?? (step > 0 ? -1 : x.length)) + step));
    const scaleY = lines.map(({ values }) => values[index]).find((value) => value != null);
    chart.current.setCursor({
      left: chart.current.valToPos(x[index]!, 'x'),
      top: scaleY == null ? 0 : chart.current.valToPos(scaleY, 'y'),
    });
    setAt(index);
    setSaid(read(index));
  };
  // Where the cursor stands, else each line's latest value.
  const standing = (values: Line['values']): number | null =>
    (at === null ? values.findLast((value) => value != null) : values[at]) ?? null;
  return (
    <figure className="panel chart">
      <figcaption>
        <div className="row spread">
          <h3 id={`${id}-title`}>{title}</h3>
          <button
            type="button"
            className="button plain tight"
            aria-expanded={asTable}
            aria-controls={`${id}-table`}
            onClick={() => setAsTable(!asTable)}
          >
            {asTable ? 'Chart' : 'Table'}
            <span className="only-heard"> of {title}</span>
          </button>
        </div>
        {note !== undefined && <p className="quiet small">{note}</p>}
      </figcaption>
      <div id={`${id}-table`} className="scroller chart-table" hidden={!asTable} tabIndex={asTable ? 0 : -1}>
        {asTable && <Table {...props} />}
      </div>
      <div hidden={asTable}>
        {/* biome-ignore lint/a11y/useSemanticElements: a drawing that is read with the arrow keys has no element of its own */}
        <div
          ref={box}
          className="chart-box"
          style={{ height }}
          role="group"
          aria-roledescription="chart"
          aria-label={`${title}. ${summary(props)} Arrow keys read the points.`}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: it is moved through with the arrow keys
          tabIndex={0}
          onKeyDown={press}
        />
        <ul className="legend" aria-hidden="true">
          {lines.map(({ label, colour, values, dashed }) => (
            <li key={label} className={`key c${colour % 6}${dashed ? ' dashed' : ''}`}>
              <span className="key-line" />
              <span>{label}</span>
              <strong>{standing(values) === null ? '–' : format(standing(values)!)}</strong>
            </li>
          ))}
          <li className="quiet">{at === null || x[at] === undefined ? 'latest' : `${xLabel} ${formatX(x[at])}`}</li>
        </ul>
        <p className="only-heard" role="status">
          {said}
        </p>
      </div>
    </figure>
  );
}

function Table({ title, x, xLabel, lines, format, formatX }: LineChartProps) {
  const stride = Math.max(1, Math.ceil(x.length / TABLE_ROWS));
  const rows = x.map((_, i) => i).filter((i) => i % stride === 0 || i === x.length - 1);
  return (
    <table>
      <caption className="only-heard">{title}</caption>
      <thead>
        <tr>
          <th scope="col">{xLabel}</th>
          {lines.map(({ label, band }) => (
            <th key={label} scope="col" className="number">
              {label}
              {band !== undefined && ' (interval)'}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((i) => (
          <tr key={x[i]}>
            <th scope="row">{formatX(x[i]!)}</th>
            {lines.map(({ label, values, band }) => (
              <td key={label} className="number">
                {values[i] == null ? '–' : format(values[i])}
                {band?.low[i] != null && band.high[i] != null && (
                  <span className="quiet">
                    {' '}
                    ({format(band.low[i])} … {format(band.high[i])})
                  </span>
                )}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The chart in a sentence: where each line begins and ends. */
function summary({ lines, format, x, xLabel, formatX }: LineChartProps): string {
  if (x.length === 0) return 'No values yet.';
  const range = `${xLabel} ${formatX(x[0]!)} to ${formatX(x.at(-1)!)}.`;
  const each = lines.map(({ label, values }) => {
    const there = values.filter((value): value is number => value != null);
    if (there.length === 0) return `${label} has no values.`;
    return `${label} from ${format(there[0]!)} to ${format(there.at(-1)!)}, least ${format(Math.min(...there))}, most ${format(Math.max(...there))}.`;
  });
  return [range, ...each].join(' ');
}

function chartData({ x, lines, level }: LineChartProps): uPlot.AlignedData {
  const columns = lines.flatMap(({ values, band }) => (band === undefined ? [values] : [values, band.high, band.low]));
  return [x, ...columns, ...(level === undefined ? [] : [x.map(() => level)])] as unknown as uPlot.AlignedData;
}

function chartOptions(props: LineChartProps, width: number, onCursor: (index: number | null) => void): uPlot.Options {
  const {
    lines,
    time,
    days,
    format,
    formatX,
    formatTick = formatX,
    level,
    fromZero,
    logarithmic,
    height = 220,
  } = props;
  const colour = (i: number): string => `var(--c${i % 6})`;
  const quiet = colourOf('var(--quiet)');
  const grid = { stroke: colourOf('var(--line)'), width: 1 };
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  for (const line of lines) {
    const stroke = colourOf(colour(line.colour));
    series.push({
      label: line.label,
      stroke,
      width: 2,
      ...(line.dashed ? { dash: [6, 4] } : {}),
      points: { show: isSparse, size: 5, fill: stroke },
      spanGaps: true,
    });
    if (line.band !== undefined) {
      const edge: uPlot.Series = { stroke: faded(colour(line.colour), 33), width: 1, points: { show: false } };
      series.push(edge, edge);
      bands.push({ series: [series.length - 2, series.length - 1], fill: faded(colour(line.colour), 13) });
    }
  }
  if (level !== undefined)
    series.push({ stroke: colourOf('var(--line-strong)'), width: 1.5, dash: [4, 4], points: { show: false } });
  const font = '12px "Inter Variable", system-ui, sans-serif';
  return {
    width: Math.max(width, 200),
    height,
    series,
    bands,
    legend: { show: false },
    ...(days ? { tzDate: (seconds: number) => uPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC') } : {}),
    padding: [10, 8, 0, 0],
    cursor: {
      x: true,
      y: false,
      points: { size: 8, width: 2 },
      drag: { x: true, y: false },
    },
    scales: {
      x: {
        time: time === true,
        ...(days ? { range: (chart: uPlot, low: number, high: number) => xRange(chart.data[0], low, high, DAY) } : {}),
      },
      y: {
        ...(logarithmic ? { distr: 3 as const } : {}),
        ...(fromZero && !logarithmic
          ? { range: (_chart: uPlot, _low: number, high: number): [number, number] => [0, high > 0 ? high * 1.08 : 1] }
          : {}),
        ...(lines.some(({ band }) => band !== undefined)
          ? { range: (chart: uPlot) => bandRange(chart, bands, level) }
          : {}),
      },
    },
    axes: [
      {
        stroke: quiet,
        font,
        grid: { show: false },
        ticks: { show: false },
        size: 34,
        ...(days ? { incrs: [...DAY_STEPS] } : {}),
        values: (_chart: uPlot, splits: number[]) => splits.map(formatTick),
      },
      {
        stroke: quiet,
        font,
        grid: { ...grid, ...(logarithmic ? { filter: powersOfTen } : {}) },
        ticks: { show: false },
        size: (_chart: uPlot, ticks: string[] | null) =>
          16 + 7.2 * Math.max(3, ...(ticks ?? []).map((tick) => tick.length)),
        values: (_chart: uPlot, splits: number[]) => splits.map((value) => (value == null ? '' : format(value))),
      },
    ],
    hooks: {
      setCursor: [(chart: uPlot) => onCursor(chart.cursor.idx ?? null)],
    },
  };
}

/** Whether so few values are there that each is drawn as a point: a single one has no line. */
function isSparse(chart: uPlot, series: number): boolean {
  let count = 0;
  for (const value of chart.data[series] ?? []) if (value != null && ++count > 24) return false;
  return true;
}

/** A band this many times wider than it is at the end does not decide the scale: it would press everything after it flat. */
const WIDE = 3;

/** Lowest and highest of the lines, of the level, and of the bands where they are not much wider than at their end. */
function bandRange(chart: uPlot, bands: readonly uPlot.Band[], level: number | undefined): [number, number] {
  const ends: number[] = level === undefined ? [] : [level];
  for (let i = 1; i < chart.series.length; i++) {
    const band = bands.find(({ series: [high] }) => high === i + 1);
    if (band === undefined) continue;
    const [lines, highs, lows] = [chart.data[i]!, chart.data[band.series[0]]!, chart.data[band.series[1]]!];
    const width = (at: number): number => (highs[at] ?? Number.NaN) - (lows[at] ?? Number.NaN);
    const last = Array.from(highs, (_, at) => width(at)).findLast(Number.isFinite) ?? 0;
    for (let at = 0; at < lines.length; at++) {
      if (lines[at] != null) ends.push(lines[at]!);
      if (width(at) <= last * WIDE) ends.push(highs[at]!, lows[at]!);
    }
  }
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  if (!Number.isFinite(low) || low === high) return [low - 0.01 || -0.01, high + 0.01 || 0.01];
  const room = (high - low) * 0.06;
  return [low - room, high + room];
}

const powersOfTen = (_chart: uPlot, splits: number[]): (number | null)[] =>
  splits.map((value) => (Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6) ? value : null));
