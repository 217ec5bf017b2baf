import { lazy, Suspense, useEffect, useMemo, useRef, useState } from 'react';
import { request, requestText } from '../api/request';
import type { RunReply } from '../api/types';
import { useAnswer } from '../api/use-answer';
import { ago, moment, number } from '../design/format';
import { Bones, Failure } from '../design/States';
import { Link } from '../shell/Link';
import { hrefOf } from '../shell/routing';
import { aligned, type Curve, curvesOf, measureName } from './curves';
import { outcomeOf, tookOf } from './Runs';
import './runs.css';

const LineChart = lazy(() => import('../charts/LineChart').then(({ LineChart }) => ({ default: LineChart })));

/** One run: its curves, its report, and what it was made with. */
export function Run({ id }: { id: string }) {
  const path = `/v1/runs/${encodeURIComponent(id)}`;
  const [live, setLive] = useState(false);
  const { value, error, again } = useAnswer(
    `run ${id}`,
    (signal) => request<RunReply>(path, { signal }),
    live ? { everyMs: 4000 } : {},
  );
  const { curves, figures, clock } = useMemo(() => curvesOf(value?.metrics?.rows ?? []), [value]);
  const run = value?.run;
  const outcome = run === undefined ? null : outcomeOf(run);
  useEffect(() => setLive(outcome?.word === 'running'), [outcome?.word]);
  return (
    <div className="page">
      <div className="page-head">
        <p className="minor">
          <Link href={hrefOf({ name: 'runs' })}>Runs</Link>
        </p>
        <h1>{run?.path ?? id.replaceAll('~', '/')}</h1>
        {run !== undefined && (
          <p className="row">
            <span className={`badge ${outcome?.tone}`}>{outcome?.word}</span>
            <span>
              {[
                run.stage,
                run.model,
                run.dataset,
                run.seeds.length > 0 ? `seed ${run.seeds.join(', ')}` : null,
                tookOf(run),
              ]
                .filter((part) => part !== null && part !== '')
                .join(' · ')}
            </span>
          </p>
        )}
      </div>
      {error !== null && <Failure error={error} what="The run cannot be read" again={again} />}
      {value === null && error === null && (
        <div className="charts">
          <Bones height={310} label="Loading the run" />
          <Bones height={310} />
        </div>
      )}
      {run?.error != null && (
        <div className="notice bad" role="status">
          <h2>Why it ended</h2>
          <p>{run.error}</p>
        </div>
      )}
      {figures.length > 0 && figures.length <= 24 && (
        <dl className="panel figures">
          {figures.map(({ measure, of, value }) => (
            <div key={`${measure} ${of}`}>
              <dt>
                {measureName(measure)}
                {of !== null && <span className="quiet"> {of}</span>}
              </dt>
              <dd>{number(value)}</dd>
            </div>
          ))}
        </dl>
      )}
      {curves.length > 0 && (
        <section aria-labelledby="curves">
          <h2 id="curves" className="only-heard">
            Training curves
          </h2>
          <Suspense fallback={<Bones height={310} label="Loading charts" />}>
            <div className="charts">
              {curves.map((curve) => (
                <CurveChart key={curve.measure} curve={curve} clock={clock} />
              ))}
            </div>
          </Suspense>
          {value?.metrics != null && value.metrics.rows.length < value.metrics.total && (
            <p className="quiet small sampled">
              {value.metrics.rows.length.toLocaleString('en-GB')} of {value.metrics.total.toLocaleString('en-GB')} rows,
              evenly spaced.
            </p>
          )}
        </section>
      )}
      {run?.report && <Report path={`${path}/report.html`} />}
      {run !== undefined && (
        <section className="panel run-facts" aria-labelledby="made-with">
          <h2 id="made-with">Made with</h2>
          <dl className="facts-table">
            <dt>Command</dt>
            <dd>
              <code>larr {run.command.join(' ')}</code>
            </dd>
            <dt>Started</dt>
            <dd>
              {run.startedAt === null ? '' : `${moment(run.startedAt)} (${ago(run.startedAt)})`}
              {run.sittings.length > 1 && ` · in ${run.sittings.length} sittings`}
            </dd>
            <dt>Where</dt>
            <dd>
              {run.device} · {run.threads} threads
            </dd>
            <dt>Versions</dt>
            <dd>
              {Object.entries(run.versions)
                .filter(([, version]) => typeof version === 'string')
                .map(([name, version]) => `${name} ${String(version).slice(0, 12)}`)
                .join(' · ')}
            </dd>
            {run.inputs.length > 0 && (
              <>
                <dt>Reads</dt>
                <dd>{run.inputs.join(', ')}</dd>
              </>
            )}
          </dl>
          <details>
            <summary>Configuration</summary>
            {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
            <pre tabIndex={0}>{JSON.stringify(run.config, null, 2)}</pre>
          </details>
        </section>
      )}
    </div>
  );
}

const CurveChart = ({ curve, clock }: { curve: Curve; clock: string }) => {
  const { x, values } = useMemo(() => aligned(curve), [curve]);
  const positive = values.flat().every((value) => value === null || value > 0);
  // A loss that falls by orders of magnitude shows its end on a logarithmic axis alone.
  const there = values.flat().filter((value): value is number => value !== null);
  const wide = positive && Math.max(...there) / Math.min(...there) > 50;
  return (
    <LineChart
      title={measureName(curve.measure)}
      x={x}
      xLabel={clock}
      lines={curve.lines.map(({ label }, i) => ({ label: measureName(label), values: values[i]!, colour: i }))}
      format={number}
      formatX={(value) => value.toLocaleString('en-GB')}
      logarithmic={wide}
      {...(wide ? { note: 'logarithmic' } : {})}
    />
  );
};

/** The run's own report, in a frame without an origin: it can reach neither the server nor this page. */
function Report({ path }: { path: string }) {
  const frame = useRef<HTMLIFrameElement>(null);
  const [height, setHeight] = useState(720);
  const [ready, setReady] = useState(false);
  const { value, error, again } = useAnswer(`report ${path}`, (signal) => requestText(path, { signal }));
  useEffect(() => {
    const hear = (event: MessageEvent): void => {
      if (event.source !== frame.current?.contentWindow) return;
      const { reportFrame, reportHeight } = (event.data ?? {}) as { reportFrame?: string; reportHeight?: number };
      if (reportFrame === 'ready') setReady(true);
      if (typeof reportHeight === 'number' && Number.isFinite(reportHeight))
        setHeight(Math.min(20_000, Math.max(240, reportHeight)));
    };
    window.addEventListener('message', hear);
    return () => window.removeEventListener('message', hear);
  }, []);
  useEffect(() => {
    // The frame has no origin that could be named.
    if (ready && value !== null) frame.current?.contentWindow?.postMessage({ report: value }, '*');
  }, [ready, value]);
  return (
    <section className="report" aria-labelledby="report-title">
      <h2 id="report-title">Report</h2>
      {error !== null ? (
        <Failure error={error} what="The report cannot be read" again={again} />
      ) : (
        <iframe
          ref={frame}
          title="Report of the run"
          className="panel"
          src="/console/report-frame.html"
          sandbox="allow-scripts"
          style={{ height }}
        />
      )}
    </section>
  );
}
