import { request, type ServerError } from '../api/request';
import type { RunSummary, RunsReply } from '../api/types';
import { useAnswer } from '../api/use-answer';
import { ago, duration, moment } from '../design/format';
import { Scroller } from '../design/Scroller';
import { Bones, Empty, Failure } from '../design/States';
import { Link } from '../shell/Link';
import { hrefOf } from '../shell/routing';
import './runs.css';

const OUTCOMES: Record<string, 'good' | 'warn' | 'bad' | ''> = {
  finished: 'good',
  running: '',
  stopped: 'warn',
  failed: 'bad',
};

/** How a run stands, in a word; one that says it runs and has been silent for long was killed. */
export function outcomeOf(
  run: Pick<RunSummary, 'outcome' | 'changedAt'>,
  now = Date.now(),
): { word: string; tone: string } {
  const word = run.outcome ?? 'unknown';
  if (word === 'running' && now - Date.parse(run.changedAt) > SILENT_MS) return { word: 'silent', tone: 'warn' };
  return { word, tone: OUTCOMES[word] ?? '' };
}
const SILENT_MS = 10 * 60_000;

/** What runs there are below the server's directory of runs. */
export function Runs() {
  const { value, error, again } = useAnswer('runs', (signal) => request<RunsReply>('/v1/runs', { signal }), {
    everyMs: 10_000,
  });
  return (
    <div className="page">
      <div className="page-head">
        <h1>Runs</h1>
        <p>What was trained, how it went, and what its report says.</p>
      </div>
      {error !== null && !noDirectory(error) && <Failure error={error} what="The runs cannot be read" again={again} />}
      {error !== null && noDirectory(error) && (
        <Empty title="This server shows no runs">
          <p>
            Start it with <code>--runs DIR</code>, the directory that <code>larr</code> commands write their{' '}
            <code>--out</code> into, and they appear here.
          </p>
        </Empty>
      )}
      {value === null && error === null && <Bones height={320} label="Loading runs" />}
      {value !== null && value.runs.length === 0 && (
        <Empty title="No runs yet">
          <p>
            The directory holds no <code>run.json</code>. Every <code>larr</code> command with <code>--out</code> writes
            one as it begins.
          </p>
        </Empty>
      )}
      {value !== null && value.runs.length > 0 && (
        <Scroller label="Runs" className="panel">
          <table className="runs">
            <caption className="only-heard">Runs, the latest first</caption>
            <thead>
              <tr>
                <th scope="col">Run</th>
                <th scope="col">Stage</th>
                <th scope="col">Outcome</th>
                <th scope="col">Data</th>
                <th scope="col">Started</th>
                <th scope="col" className="number">
                  Took
                </th>
              </tr>
            </thead>
            <tbody>
              {value.runs.map((run) => {
                const { word, tone } = outcomeOf(run);
                return (
                  <tr key={run.id}>
                    <th scope="row">
                      <Link href={hrefOf({ name: 'run', id: run.id })}>{run.path}</Link>
                    </th>
                    <td>
                      {run.stage}
                      {run.model !== null && <span className="quiet"> {run.model}</span>}
                    </td>
                    <td>
                      <span className={`badge ${tone}`}>{word}</span>
                    </td>
                    <td className="quiet">{run.dataset}</td>
                    <td className="quiet" title={run.startedAt === null ? undefined : moment(run.startedAt)}>
                      {run.startedAt === null ? '' : ago(run.startedAt)}
                    </td>
                    <td className="number quiet">{tookOf(run)}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </Scroller>
      )}
    </div>
  );
}

/** From start to end, or to the last sign of life. */
export function tookOf({
  startedAt,
  finishedAt,
  changedAt,
}: Pick<RunSummary, 'startedAt' | 'finishedAt' | 'changedAt'>): string {
  if (startedAt === null) return '';
  return duration((Date.parse(finishedAt ?? changedAt) - Date.parse(startedAt)) / 1000);
}

/** A server without --runs has no such address. */
const noDirectory = (error: ServerError): boolean => error.status === 404 && error.code === 'NOT_FOUND';
