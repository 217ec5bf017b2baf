import { lazy, Suspense, useState } from 'react';
import { request } from '../api/request';
import type { HealthReport } from '../api/types';
import { useAnswer } from '../api/use-answer';
import { bytes, duration, milliseconds, number, percent } from '../design/format';
import { Scroller } from '../design/Scroller';
import { Bones, Failure } from '../design/States';
import './health.css';

const LineChart = lazy(() => import('../charts/LineChart').then(({ LineChart }) => ({ default: LineChart })));

const EVERY_MS = 2000;

/** Population stability: below .1 nothing moved, above .25 it is another population. */
const DRIFT = { watch: 0.1, alarm: 0.25 };

/** How the server does now: the last five minutes, asked for every two seconds. */
export function Health() {
  const [paused, setPaused] = useState(false);
  const { value, error, again } = useAnswer(
    'health',
    (signal) => request<HealthReport>('/v1/admin/health', { signal }),
    paused ? {} : { everyMs: EVERY_MS },
  );
  return (
    <div className="page">
      <div className="row spread">
        <div className="page-head">
          <h1>Health</h1>
          <p>
            {value === null
              ? 'The last five minutes of this server.'
              : `The last ${duration(value.window.seconds)} of this server, which has been up for ${duration(value.uptimeSeconds)}.`}
          </p>
        </div>
        <button type="button" className="button" aria-pressed={paused} onClick={() => setPaused(!paused)}>
          {paused ? 'Go on' : 'Pause'}
        </button>
      </div>
      {error !== null && <Failure error={error} what="The server’s health cannot be read" again={again} />}
      {value === null && error === null && (
        <>
          <Bones height={104} label="Loading" />
          <Bones height={310} />
        </>
      )}
      {value !== null && <Report health={value} />}
    </div>
  );
}

function Report({ health }: { health: HealthReport }) {
  const { requests, routes, queue, memory, eventLoop, series, stages, window, fallbacks, refused, drift } = health;
  const rank = routes.find(({ route }) => route === '/v1/rank');
  const x = series.map(({ at }) => Date.parse(at) / 1000);
  const clock = (seconds: number): string => new Date(seconds * 1000).toLocaleTimeString('en-GB');
  const perSecond = series.map((slot) => slot.requests / window.slotSeconds);
  return (
    <>
      <dl className="tiles">
        <Tile
          name="Requests"
          value={`${number(round(requests.perSecond))}/s`}
          note={`${number(requests.total)} in all`}
        />
        <Tile
          name="Ranking, median"
          value={rank?.p50 == null ? '–' : milliseconds(rank.p50)}
          note={rank?.p99 == null ? 'none asked for' : `99 % within ${milliseconds(rank.p99)}`}
        />
        <Tile name="Candidates" value={`${number(round(health.candidatesPerSecond))}/s`} note="ranked" />
        <Tile name="Queue" value={number(queue.rows)} note="candidates wait now" />
        <Tile
          name="Failed"
          value={number(requests.failed)}
          note={requests.total === 0 ? 'of none' : `${percent(requests.failed / requests.total)} of requests`}
          tone={requests.failed > 0 ? 'bad' : ''}
        />
        <Tile name="Memory" value={bytes(memory.rss)} note={`heap ${bytes(memory.heapUsed)}`} />
        <Tile
          name="Main thread"
          value={milliseconds(eventLoop.p99)}
          note="work waits for it, 99 %"
          tone={eventLoop.p99 > 100 ? 'warn' : ''}
        />
      </dl>
      <h2 className="only-heard">Latency and load</h2>
      <Suspense
        fallback={
          <div className="charts">
            <Bones height={310} label="Loading charts" />
            <Bones height={310} />
          </div>
        }
      >
        <div className="charts">
          <LineChart
            title="Latency of a ranking"
            note="milliseconds, by slots of ten seconds"
            x={x}
            xLabel="at"
            time
            fromZero
            lines={[
              { label: 'median', values: series.map(({ p50 }) => p50), colour: 2 },
              { label: '99 %', values: series.map(({ p99 }) => p99), colour: 1, dashed: true },
            ]}
            format={number}
            formatX={clock}
            formatTick={(seconds) => (seconds % 60 === 0 ? clock(seconds).slice(0, 5) : '')}
          />
          <LineChart
            title="Requests a second"
            note="all routes; the last slot is still filling"
            x={x}
            xLabel="at"
            time
            fromZero
            lines={[
              { label: 'answered', values: perSecond, colour: 0 },
              {
                label: 'failed',
                values: series.map(({ failed }) => failed / window.slotSeconds),
                colour: 1,
                dashed: true,
              },
            ]}
            format={number}
            formatX={clock}
            formatTick={(seconds) => (seconds % 60 === 0 ? clock(seconds).slice(0, 5) : '')}
          />
        </div>
      </Suspense>
      <div className="health-parts">
        <section className="panel health-part" aria-labelledby="stages">
          <h2 id="stages">Where a ranking’s time goes</h2>
          <Stages stages={stages} />
        </section>
        <section className="panel health-part" aria-labelledby="oddities">
          <h2 id="oddities">Fallbacks and refusals</h2>
          <Counts counts={fallbacks} none="Every user, POI and text was known." what="ranked through a fallback" />
          <Counts counts={refused} none="Nobody was refused." what="refused" />
          <Counts
            counts={Object.fromEntries(Object.entries(requests.byStatus).filter(([status]) => Number(status) >= 400))}
            none=""
            what="answers by status"
          />
        </section>
        <section className="panel health-part" aria-labelledby="drift">
          <h2 id="drift">Drift of scores</h2>
          <p className="quiet minor">Against the bundle’s test rows, as the population stability index.</p>
          <ul className="counts">
            {drift.map(({ task, psi, scores }) => {
              const tone = psi === null ? '' : psi > DRIFT.alarm ? 'bad' : psi > DRIFT.watch ? 'warn' : 'good';
              return (
                <li key={task}>
                  <span>{task.toUpperCase()}</span>
                  <span className="row">
                    {psi === null ? (
                      <span className="quiet minor">too few scores ({number(scores)})</span>
                    ) : (
                      <>
                        <strong>{psi.toFixed(3)}</strong>
                        <span className={`badge ${tone}`}>
                          {tone === 'good' ? 'steady' : tone === 'warn' ? 'moves' : 'another population'}
                        </span>
                      </>
                    )}
                  </span>
                </li>
              );
            })}
          </ul>
        </section>
      </div>
      <section className="panel" aria-labelledby="routes">
        <h2 id="routes" className="table-title">
          Routes
        </h2>
        <Scroller label="Routes">
          <table>
            <thead>
              <tr>
                <th scope="col">Route</th>
                {['Requests', 'Median', '95 %', '99 %'].map((name) => (
                  <th key={name} scope="col" className="number">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {routes
                .filter(({ count }) => count > 0)
                .map(({ route, count, p50, p95, p99 }) => (
                  <tr key={route}>
                    <th scope="row">
                      <code>{route}</code>
                    </th>
                    <td className="number">{number(count)}</td>
                    {(
                      [
                        ['p50', p50],
                        ['p95', p95],
                        ['p99', p99],
                      ] as const
                    ).map(([name, ms]) => (
                      <td key={name} className="number">
                        {ms === null ? '–' : milliseconds(ms)}
                      </td>
                    ))}
                  </tr>
                ))}
            </tbody>
          </table>
        </Scroller>
      </section>
    </>
  );
}

const round = (x: number): number => (x >= 10 ? Math.round(x) : Math.round(x * 100) / 100);

function Tile({ name, value, note, tone = '' }: { name: string; value: string; note: string; tone?: string }) {
  return (
    <div className={`panel tile ${tone}`}>
      <dt>{name}</dt>
      <dd>
        <span className="tile-value">{value}</span>
        <span className="quiet small">{note}</span>
      </dd>
    </div>
  );
}

/** A ranking's stages in order: how long each takes, to the median, 95 and 99 in a hundred. */
function Stages({ stages }: { stages: HealthReport['stages'] }) {
  const most = Math.max(...stages.map(({ p99 }) => p99 ?? 0), 1e-6);
  if (stages.every(({ count }) => count === 0)) return <p className="quiet">No ranking was asked for in this time.</p>;
  const width = (ms: number | null): string => `${((ms ?? 0) / most) * 100}%`;
  return (
    <>
      <ul className="stages">
        {stages.map(({ stage, p50, p95, p99 }) => (
          <li key={stage}>
            <span className="stage-name">{stage}</span>
            <span className="stage-bar" aria-hidden="true">
              <span className="p99" style={{ width: width(p99) }} />
              <span className="p95" style={{ width: width(p95) }} />
              <span className="p50" style={{ width: width(p50) }} />
            </span>
            <span className="stage-times">
              <strong>{p50 === null ? '–' : milliseconds(p50)}</strong>
              <span className="quiet"> {p99 === null ? '' : `· ${milliseconds(p99)}`}</span>
            </span>
          </li>
        ))}
      </ul>
      <p className="legend quiet" aria-hidden="true">
        <span className="swatch p50" /> median
        <span className="swatch p95" /> 95 %
        <span className="swatch p99" /> 99 %
      </p>
    </>
  );
}

function Counts({ counts, none, what }: { counts: Record<string, number>; none: string; what: string }) {
  const there = Object.entries(counts).filter(([, count]) => count > 0);
  if (there.length === 0) return none === '' ? null : <p className="quiet">{none}</p>;
  return (
    <div>
      <h3 className="quiet minor">{what.charAt(0).toUpperCase() + what.slice(1)}</h3>
      <ul className="counts">
        {there.map(([kind, count]) => (
          <li key={kind}>
            <span>{kind}</span>
            <strong>{number(count)}</strong>
          </li>
        ))}
      </ul>
    </div>
  );
}
