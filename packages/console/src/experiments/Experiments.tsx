import { request, type ServerError } from '../api/request';
import type { ExperimentsReply } from '../api/types';
import { useAnswer } from '../api/use-answer';
import { ago, share } from '../design/format';
import { Bones, Empty, Failure } from '../design/States';
import { Link } from '../shell/Link';
import { hrefOf } from '../shell/routing';
import './experiments.css';
import { METRICS } from './reading';

export const STATE_TONES: Record<string, string> = { running: 'good', paused: 'warn', stopped: '', draft: '' };

/** What is tried on whom. */
export function Experiments() {
  const { value, error, again } = useAnswer(
    'experiments',
    (signal) => request<ExperimentsReply>('/v1/experiments', { signal }),
    { everyMs: 10_000 },
  );
  const none = error?.status === 404;
  return (
    <div className="page">
      <div className="page-head">
        <h1>Experiments</h1>
        <p>
          Which arms are given to whom, and what came of it
          {value !== null &&
            value.holdout.share > 0 &&
            ` · ${share(value.holdout.share)} of all users are held out of every experiment`}
          .
        </p>
      </div>
      {error !== null && !none && <Failure error={error} what="The experiments cannot be read" again={again} />}
      {none && <NoExperiments error={error} />}
      {value === null && error === null && <Bones height={260} label="Loading experiments" />}
      {value !== null && value.experiments.length === 0 && (
        <Empty title="No experiments yet">
          <p>Put one under a name of its own; it begins as a draft and is given to nobody until it is started here:</p>
          <pre>
            <code>{`curl -X PUT …/v1/experiments/new-model \\
  -H 'content-type: application/json' \\
  -d '{"arms": [{"name": "control"}, {"name": "treatment", "bundle": "next"}], "traffic": 0.1}'`}</code>
          </pre>
        </Empty>
      )}
      {value !== null && value.experiments.length > 0 && (
        <ul className="experiments">
          {value.experiments.map((experiment) => (
            <li key={experiment.name} className="panel experiment-card">
              <div className="row spread">
                <h2>
                  <Link href={hrefOf({ name: 'experiment', id: experiment.name })}>{experiment.name}</Link>
                </h2>
                <span className={`badge ${STATE_TONES[experiment.state] ?? ''}`}>{experiment.state}</span>
              </div>
              <p className="experiment-says">{experiment.description || 'No description.'}</p>
              <dl className="experiment-facts">
                <div>
                  <dt>Arms</dt>
                  <dd>{experiment.arms.join(', ')}</dd>
                </div>
                <div>
                  <dt>Traffic</dt>
                  <dd>
                    {share(experiment.traffic)} of <span className="quiet">{experiment.layer}</span>
                  </dd>
                </div>
                <div>
                  <dt>Decides by</dt>
                  <dd>{METRICS[experiment.primary]?.title ?? experiment.primary}</dd>
                </div>
                <div>
                  <dt>Started</dt>
                  <dd>{experiment.startedAt === null ? 'not yet' : ago(experiment.startedAt)}</dd>
                </div>
              </dl>
              {experiment.missingBundles.length > 0 && (
                <p className="alarm-line">
                  <span className="badge bad">Alarm</span> Given to nobody: bundle{' '}
                  {experiment.missingBundles.join(', ')} is not loaded.
                </p>
              )}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

/** A server without --experiments has no such address. */
export function NoExperiments({ error }: { error: ServerError }) {
  if (error.code !== 'NOT_FOUND') {
    return (
      <Empty title="No such experiment">
        <p>{error.message}</p>
        <p>
          <Link href={hrefOf({ name: 'experiments' })}>All experiments</Link>
        </p>
      </Empty>
    );
  }
  return (
    <Empty title="This server runs no experiments">
      <p>
        Start it with <code>--events DIR --experiments DIR</code>: experiments are kept in one directory, what users did
        in the other.
      </p>
    </Empty>
  );
}
