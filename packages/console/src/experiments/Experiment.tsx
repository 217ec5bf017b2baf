import { lazy, Suspense, useEffect, useId, useRef, useState } from 'react';
import { request, ServerError } from '../api/request';
import type { ExperimentReply, ReportReply } from '../api/types';
import { useAnswer } from '../api/use-answer';
import { Choices } from '../design/Choices';
import { ago, lift, moment, number, percent, share } from '../design/format';
import { Scroller } from '../design/Scroller';
import { Slider } from '../design/Slider';
import { Bones, Failure } from '../design/States';
import { Link } from '../shell/Link';
import { hrefOf } from '../shell/routing';
import { NoExperiments, STATE_TONES } from './Experiments';
import './experiments.css';
import { type Effect, effectOf, liftByDay, liftScale, METRICS, pValue, spokenVerdict } from './reading';

const LineChart = lazy(() => import('../charts/LineChart').then(({ LineChart }) => ({ default: LineChart })));

/** One experiment: what it found, whether that can be believed, and what is done with it next. */
export function Experiment({ id }: { id: string }) {
  const path = `/v1/experiments/${encodeURIComponent(id)}`;
  const { value, error, again } = useAnswer(
    `experiment ${id}`,
    (signal) => request<ExperimentReply>(path, { signal }),
    {
      everyMs: 15_000,
    },
  );
  const started = value !== null && value.experiment.startedAt !== null;
  const report = useAnswer(
    started ? `report ${id} ${value.experiment.state}` : null,
    (signal) => request<ReportReply>(`${path}/report`, { signal }),
    { everyMs: 15_000 },
  );
  const record = value?.experiment;
  return (
    <div className="page">
      <div className="row spread">
        <div className="page-head">
          <p className="minor">
            <Link href={hrefOf({ name: 'experiments' })}>Experiments</Link>
          </p>
          <h1 className="row">
            {id}
            {record !== undefined && <span className={`badge ${STATE_TONES[record.state] ?? ''}`}>{record.state}</span>}
          </h1>
          {record !== undefined && <p>{record.definition.description}</p>}
        </div>
        {value !== null && <Controls value={value} path={path} done={again} />}
      </div>
      {error !== null &&
        (error.status === 404 ? (
          <NoExperiments error={error} />
        ) : (
          <Failure error={error} what="The experiment cannot be read" again={again} />
        ))}
      {value === null && error === null && <Bones height={420} label="Loading the experiment" />}
      {value !== null && <Alarms value={value} report={report.value} />}
      {report.error !== null && <Failure error={report.error} what="The report cannot be made" again={report.again} />}
      {started && report.value === null && report.error === null && (
        <Bones height={420} label="Working out the report" />
      )}
      {report.value !== null && <Findings report={report.value} />}
      {value !== null && <Plan value={value} path={path} done={again} />}
    </div>
  );
}

function Alarms({ value, report }: { value: ExperimentReply; report: ReportReply | null }) {
  const ratio = report?.days.at(-1)?.figures.sampleRatio;
  return (
    <>
      {value.missingBundles.length > 0 && (
        <div className="notice bad" role="alert">
          <h2>Given to nobody</h2>
          <p>
            {value.missingBundles.length === 1 ? 'The bundle' : 'The bundles'}{' '}
            <strong>{value.missingBundles.join(', ')}</strong> of its arms{' '}
            {value.missingBundles.length === 1 ? 'is' : 'are'} not loaded. Load{' '}
            {value.missingBundles.length === 1 ? 'it' : 'them'} with <code>POST /v1/admin/reload</code>.
          </p>
        </div>
      )}
      {ratio?.alarm && (
        <div className="notice bad" role="alert">
          <h2>Users were not split as planned</h2>
          <p>
            So uneven a split comes by chance with p {pValue(ratio.p)}: assignment or logging is broken, and no figure
            below can be believed until it is found out why.
          </p>
        </div>
      )}
    </>
  );
}

function Findings({ report }: { report: ReportReply }) {
  const { days, verdicts, usersNeeded, unreadableLines, experiment } = report;
  const { arms, primary } = experiment.definition;
  const [metric, setMetric] = useState<string>(primary);
  const [adjusted, setAdjusted] = useState(true);
  const last = days.at(-1)?.figures;
  const control = arms[0]!.name;
  const treatments = arms.slice(1).map(({ name }) => name);
  const canAdjust = last?.comparisons.some(({ cuped }) => cuped !== null) ?? false;
  if (last === undefined) {
    return (
      <div className="notice">
        <h2>Nothing to report yet</h2>
        <p className="quiet">Figures come with the first users that were given an arm.</p>
      </div>
    );
  }
  const effects = treatments.map((treatment) =>
    effectOf(
      last.comparisons.find((one) => one.treatment === treatment && one.metric === metric),
      adjusted,
    ),
  );
  const controlUsers = last.arms.find(({ arm }) => arm === control)?.users ?? 0;
  const day = (seconds: number): string =>
    new Date(seconds * 1000).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });
  return (
    <>
      <ul className="verdicts">
        {verdicts.map((verdict) => (
          <li key={verdict.treatment} className={`panel verdict ${verdict.outcome}`}>
            <span className={`badge ${{ better: 'good', worse: 'bad', broken: 'bad', open: '' }[verdict.outcome]}`}>
              {verdict.outcome}
            </span>
            <p className="verdict-says">{spokenVerdict(verdict, control)}</p>
            <p className="quiet minor">Always-valid p {pValue(verdict.p)}; it may be looked at every day.</p>
          </li>
        ))}
        {usersNeeded !== null && (
          <li className="panel verdict">
            <span className="small quiet">Users of {control}</span>
            <p className="verdict-says">
              {number(controlUsers)} of {number(Math.ceil(usersNeeded))}
            </p>
            <progress
              max={usersNeeded}
              value={Math.min(controlUsers, usersNeeded)}
              aria-label={`Users of ${control}`}
            />
            <p className="quiet minor">to find the smallest lift that is worth finding, with power 0.8</p>
          </li>
        )}
      </ul>
      {unreadableLines > 0 && (
        <p className="notice" role="status">
          {number(unreadableLines)} {unreadableLines === 1 ? 'line' : 'lines'} of the event log cannot be read and{' '}
          {unreadableLines === 1 ? 'is' : 'are'} in no figure; larr events compact names the first.
        </p>
      )}
      <section className="findings" aria-labelledby="lift">
        <div className="row spread">
          <h2 id="lift">Lift against {control}</h2>
          <div className="row">
            <Choices
              label="Metric"
              hideLabel
              strip
              options={Object.entries(METRICS).map(([name, { title }]) => ({
                value: name,
                label: name === primary ? `${title} · decides` : title,
              }))}
              value={metric}
              onChange={setMetric}
            />
            {canAdjust && (
              <label className="check">
                <input type="checkbox" checked={adjusted} onChange={(event) => setAdjusted(event.target.checked)} />
                <span>Less what was so before (CUPED)</span>
              </label>
            )}
          </div>
        </div>
        <div className="panel forest">
          {treatments.map((treatment, i) => (
            <Forest key={treatment} name={treatment} effect={effects[i]!} scale={liftScale(effects)} />
          ))}
          <p className="quiet small">
            Dot: the lift. Thick line: the interval for one look at the planned end. Thin line: the interval that may be
            looked at every day.
          </p>
        </div>
        <Suspense fallback={<Bones height={310} label="Loading charts" />}>
          <div className="charts">
            {treatments.map((treatment, i) => {
              const { x, lift: values, low, high } = liftByDay(days, treatment, metric, adjusted);
              return (
                <LineChart
                  key={treatment}
                  title={`${METRICS[metric]?.title} lift of ${treatment}, day by day`}
                  note={`${METRICS[metric]?.long}; the band holds the truth on all days at once, ${share(1 - experiment.definition.alpha)} sure`}
                  x={x}
                  xLabel="up to"
                  time
                  days
                  level={0}
                  lines={[{ label: treatment, values, colour: i, band: { low, high } }]}
                  format={lift}
                  formatX={day}
                />
              );
            })}
          </div>
        </Suspense>
      </section>
      <section className="panel" aria-labelledby="arms">
        <h2 id="arms" className="table-title">
          Arms
        </h2>
        <Scroller label="Arms">
          <table>
            <thead>
              <tr>
                <th scope="col">Arm</th>
                {['Users', 'Impressions', 'Clicks', 'Orders', 'CTR', 'CVR', 'CTCVR', 'GMV per user'].map((name) => (
                  <th key={name} scope="col" className="number">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {last.arms.map((arm) => (
                <tr key={arm.arm}>
                  <th scope="row">
                    {arm.arm}
                    {arm.arm === control && control !== 'control' && <span className="quiet"> control</span>}
                  </th>
                  {[arm.users, arm.impressions, arm.clicks, arm.orders].map((count, i) => (
                    // biome-ignore lint/suspicious/noArrayIndexKey: columns never change places
                    <td key={i} className="number">
                      {number(count)}
                    </td>
                  ))}
                  {Object.keys(METRICS).map((name) => {
                    const figure = arm.metrics[name];
                    return (
                      <td key={name} className="number">
                        {figure == null ? '–' : name === 'gmv' ? number(figure.value) : percent(figure.value)}
                      </td>
                    );
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        </Scroller>
        <p className="quiet small table-note">
          Split of users: p {pValue(last.sampleRatio.p)}{' '}
          <span className={`badge ${last.sampleRatio.alarm ? 'bad' : 'good'}`}>
            {last.sampleRatio.alarm ? 'not as planned' : 'as planned'}
          </span>
        </p>
      </section>
    </>
  );
}

/** A lift with its two intervals on one line. */
function Forest({ name, effect, scale }: { name: string; effect: Effect | null; scale: number }) {
  const at = (x: number): string => `${Math.min(100, Math.max(0, 50 + (x / scale) * 50))}%`;
  const line = (interval: [number, number] | null, kind: string) =>
    interval === null ? null : (
      <span
        className={`forest-line ${kind}`}
        style={{ left: at(interval[0]), right: `calc(100% - ${at(interval[1])})` }}
      />
    );
  const sure = effect?.sequential.lift ?? null;
  const tone = sure === null ? '' : sure[0] > 0 ? 'up' : sure[1] < 0 ? 'down' : '';
  return (
    <div className={`forest-row ${tone}`}>
      <span className="forest-name">{name}</span>
      <span className="forest-axis" aria-hidden="true">
        <span className="forest-zero" />
        {effect !== null && (
          <>
            {line(effect.sequential.lift, 'thin')}
            {line(effect.fixed.lift, 'thick')}
            {effect.lift !== null && <span className="forest-dot" style={{ left: at(effect.lift) }} />}
          </>
        )}
        <span className="forest-end low">{lift(-scale)}</span>
        <span className="forest-end high">{lift(scale)}</span>
      </span>
      <span className="forest-figures">
        <strong>{effect?.lift == null ? '–' : lift(effect.lift)}</strong>
        {sure === null && effect !== null && <span className="quiet small">too early for an interval</span>}
        {sure !== null && (
          <span className="quiet small">
            <span className="only-heard">interval </span>
            {lift(sure[0])} … {lift(sure[1])}
          </span>
        )}
      </span>
    </div>
  );
}

type Step = 'start' | 'pause' | 'stop';

/** Start, pause, stop: with a key that may. */
function Controls({ value, path, done }: { value: ExperimentReply; path: string; done: () => void }) {
  const { state } = value.experiment;
  const [busy, setBusy] = useState<Step | null>(null);
  const [failure, setFailure] = useState<ServerError | null>(null);
  const [said, setSaid] = useState('');
  const sure = useRef<HTMLDialogElement>(null);
  const go = async (step: Step): Promise<void> => {
    sure.current?.close();
    setBusy(step);
    setFailure(null);
    try {
      const { experiment } = await request<ExperimentReply>(`${path}/${step}`, { method: 'POST', scope: 'admin' });
      setSaid(`The experiment is ${experiment.state}.`);
      done();
    } catch (error) {
      setFailure(error instanceof ServerError ? error : new ServerError(-1, 'CONSOLE', String(error)));
    } finally {
      setBusy(null);
    }
  };
  return (
    <div className="controls">
      <div className="row">
        {(state === 'draft' || state === 'paused') && (
          <button type="button" className="button first" disabled={busy !== null} onClick={() => void go('start')}>
            {state === 'draft' ? 'Start' : 'Go on'}
          </button>
        )}
        {state === 'running' && (
          <button type="button" className="button" disabled={busy !== null} onClick={() => void go('pause')}>
            Pause
          </button>
        )}
        {(state === 'running' || state === 'paused') && (
          <button
            type="button"
            className="button risky"
            disabled={busy !== null}
            onClick={() => sure.current?.showModal()}
          >
            Stop…
          </button>
        )}
      </div>
      {failure !== null && (
        <p className="controls-failure" role="alert">
          {failure.message}
        </p>
      )}
      <p className="only-heard" role="status">
        {said}
      </p>
      <dialog ref={sure} className="key-dialog" aria-labelledby="stop-title">
        <form method="dialog">
          <h2 id="stop-title">Stop this experiment for good?</h2>
          <p className="quiet">
            Its users get what everybody gets from the next request on. A stopped experiment cannot go on; its report
            stays.
          </p>
          <div className="row key-actions">
            <button type="submit" className="button">
              Keep it
            </button>
            <button type="button" className="button risky" onClick={() => void go('stop')}>
              Stop it
            </button>
          </div>
        </form>
      </dialog>
    </div>
  );
}

/** How it is set up, how much traffic it gets, and what was done to it. */
function Plan({ value, path, done }: { value: ExperimentReply; path: string; done: () => void }) {
  const { definition, history, startedAt } = value.experiment;
  return (
    <section className="panel plan" aria-labelledby="plan">
      <h2 id="plan">Plan</h2>
      <div className="plan-parts">
        <div className="plan-part">
          <h3>Arms</h3>
          <ul className="plan-arms">
            {definition.arms.map((arm, i) => (
              <li key={arm.name}>
                <strong>{arm.name}</strong>
                <span className="quiet">
                  {i === 0 && arm.name !== 'control' ? 'control · ' : ''}weight {number(arm.weight)}
                  {arm.bundle !== undefined && ` · bundle ${arm.bundle}`}
                  {Object.entries(arm.parameters)
                    .filter(([, parameter]) => parameter !== undefined)
                    .map(([name, parameter]) => ` · ${name} ${parameter}`)
                    .join('')}
                </span>
              </li>
            ))}
          </ul>
          <p className="quiet minor">
            Layer {definition.layer} · α {definition.alpha} · smallest lift worth finding in{' '}
            {METRICS[definition.primary]?.title} {lift(definition.smallestLift[definition.primary])} · pre-period{' '}
            {definition.prePeriodDays} days
          </p>
        </div>
        <div className="plan-part">
          <h3>Traffic</h3>
          <Ramp value={value} path={path} done={done} />
        </div>
        <div className="plan-part">
          <h3>History</h3>
          <ol className="history">
            {history.toReversed().map(({ at, what }) => (
              <li key={`${at} ${what}`}>
                <span>{what}</span>
                <time className="quiet small" dateTime={at} title={moment(at)}>
                  {ago(at)}
                </time>
              </li>
            ))}
            {startedAt === null && history.length === 0 && <li className="quiet">Nothing yet.</li>}
          </ol>
        </div>
      </div>
    </section>
  );
}

function Ramp({ value, path, done }: { value: ExperimentReply; path: string; done: () => void }) {
  const { definition, state } = value.experiment;
  const id = useId();
  const [traffic, setTraffic] = useState(definition.traffic);
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<ServerError | null>(null);
  useEffect(() => setTraffic(definition.traffic), [definition.traffic]);
  const changed = Math.abs(traffic - definition.traffic) > 1e-9;
  if (state === 'stopped') return <p className="quiet">It was given to {share(definition.traffic)} of its layer.</p>;
  const save = async (): Promise<void> => {
    setBusy(true);
    setFailure(null);
    try {
      const { name: _, ...rest } = definition;
      await request(path, { method: 'PUT', body: { ...rest, traffic }, scope: 'admin' });
      done();
    } catch (error) {
      setFailure(error instanceof ServerError ? error : new ServerError(-1, 'CONSOLE', String(error)));
    } finally {
      setBusy(false);
    }
  };
  return (
    <div className="ramp">
      <p className="ramp-value">{share(traffic)}</p>
      <Slider
        id={id}
        label="Share of the layer’s users"
        low={0}
        high={1}
        step={0.01}
        value={traffic}
        typical={traffic}
        spoken={share(traffic)}
        onChange={(next) => setTraffic(Number(next.toFixed(2)))}
      />
      <div className="row">
        <button type="button" className="button tight first" disabled={!changed || busy} onClick={() => void save()}>
          Set
        </button>
        <button
          type="button"
          className="button tight"
          disabled={!changed || busy}
          onClick={() => setTraffic(definition.traffic)}
        >
          Back to {share(definition.traffic)}
        </button>
      </div>
      <p className="quiet small">Raising it moves nobody from one arm to another.</p>
      {failure !== null && (
        <p className="controls-failure" role="alert">
          {failure.message}
        </p>
      )}
    </div>
  );
}
