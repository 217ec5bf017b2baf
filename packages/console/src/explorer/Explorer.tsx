import { useEffect, useId, useMemo, useRef, useState } from 'react';
import { request } from '../api/request';
import type { CatalogueSceneReply } from '../api/types';
import { useAnswer } from '../api/use-answer';
import { Choices } from '../design/Choices';
import { Combobox } from '../design/Combobox';
import { Bones, Empty, Failure } from '../design/States';
import { replaceQuery, useLocation } from '../shell/routing';
import { presentKeywords, Reading } from './Attention';
import { CandidateChoice, groupChoice } from './CandidateChoice';
import { Comparison } from './Comparison';
import { askScene, askUsers, columnsLine, nameOf, useChosen, useRanking, userOption } from './catalogue';
import './explorer.css';
import { type Move, moves, spokenChange } from './moves';
import { Ranking, rowLayout } from './Ranking';
import { SceneBuilder } from './SceneBuilder';
import { understoodLine } from './understood';
import {
  type Compare,
  differing,
  fromQuery,
  otherScene,
  type SceneDraft,
  sceneBody,
  spoken,
  toQuery,
  type View,
  withField,
} from './view';

/** Pick a user, build a scene, and see the ranking follow. */
export function Explorer() {
  const [view, change] = useView();
  const first = useAnswer(view.user === null ? `first user ${view.bundle}` : null, (signal) =>
    askUsers('', 1, view.bundle, signal),
  );
  const scene = useAnswer(`scene ${view.bundle}`, (signal) => askScene(view.bundle, signal));
  const other = useAnswer(
    view.compare === 'bundle' && view.otherBundle !== null ? `scene ${view.otherBundle}` : null,
    (signal) => askScene(view.otherBundle, signal),
  );
  const catalogue = scene.value;
  if (catalogue === null) {
    return (
      <div className="page">
        <Head />
        {scene.error === null ? (
          <div className="explorer">
            <Bones height={620} label="Loading what the model knows" />
            <Bones height={820} />
          </div>
        ) : (
          <Failure error={scene.error} what="The model’s catalogue cannot be read" again={scene.again} />
        )}
      </div>
    );
  }
  const user = view.user ?? first.value?.[0]?.id ?? catalogue.example?.user ?? null;
  return (
    <Explored
      view={completed({ ...view, user }, catalogue)}
      catalogue={catalogue}
      other={view.compare === 'bundle' ? other.value : catalogue}
      change={change}
    />
  );
}

const Head = () => (
  <div className="page-head">
    <h1>Scene explorer</h1>
    <p>
      Pick a user, build a moment, and watch the ranking follow. The address holds what you see, so it can be shared.
    </p>
  </div>
);

/** A view with what nobody chose filled in: the model's example moment, and a group of POIs where there are groups. */
function completed(view: View, catalogue: CatalogueSceneReply): View {
  const untouched = Object.keys(view.scene).length === 0 && view.candidates.kind === 'first';
  const facets = catalogue.facets
    .filter(({ follows }) => follows !== null)
    .sort((a, b) => a.groups.length - b.groups.length);
  const facet = facets[0] ?? catalogue.facets[0];
  const candidates = view.candidates.kind === 'first' && facet !== undefined ? groupChoice(facet) : view.candidates;
  return { ...view, scene: untouched ? usualScene(catalogue, facet?.follows ?? null) : view.scene, candidates };
}

/** A text field with fewer values than this marks an exception, such as a holiday, which nobody gets unasked. */
const USUAL_VALUES = 4;

/** The model's example moment as far as it holds anywhere: a district of another city than the candidates' would not. */
function usualScene({ example, fields, facets, position }: CatalogueSceneReply, follows: string | null): SceneDraft {
  const elsewhere = facets.flatMap((facet) =>
    facet.follows === null || facet.follows === follows ? [] : [facet.follows],
  );
  const placed = position === null ? [] : Object.values(position.fields);
  const usual = fields.filter(
    ({ name, kind, values }) =>
      kind !== 'keyword' &&
      !elsewhere.includes(name) &&
      !placed.includes(name) &&
      (kind !== 'text' || values.length >= USUAL_VALUES),
  );
  return Object.fromEntries(
    usual.flatMap(({ name }) => {
      const value = example?.scene[name];
      return value === undefined || value === null || value === '' ? [] : [[name, String(value)]];
    }),
  );
}

/** The view of the address, kept here while it changes quickly and written there when it rests. */
function useView(): [View, (view: View) => void] {
  const { query } = useLocation();
  const [view, setView] = useState(() => fromQuery(query));
  const written = useRef(query);
  useEffect(() => {
    // The address was changed by somebody else: a link, the back button.
    if (query === written.current) return;
    written.current = query;
    setView(fromQuery(query));
  }, [query]);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const change = (next: View): void => {
    setView(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      const text = toQuery(next);
      written.current = text === '' ? '' : `?${text}`;
      replaceQuery(text);
    }, 250);
  };
  return [view, change];
}

interface ExploredProps {
  view: View;
  catalogue: CatalogueSceneReply;
  /** of bundle B; null while it is on its way, or none is chosen */
  other: CatalogueSceneReply | null;
  change: (view: View) => void;
}

function Explored({ view, catalogue, other, change }: ExploredProps) {
  const [side, setSide] = useState<'a' | 'b'>('a');
  const [building, setBuilding] = useState(false);
  const paths = useAnswer('paths', (signal) =>
    request<{ paths: Record<string, unknown> }>('/openapi.json', { signal }),
  );
  const compares = view.compare !== 'none';
  const sceneB = view.compare === 'scene' ? otherScene(view) : view.scene;
  const a = useSide(view, view.scene, catalogue, view.bundle);
  const b = useSide(view, sceneB, compares ? other : null, view.compare === 'bundle' ? view.otherBundle : view.bundle);
  const editing = view.compare === 'scene' && side === 'b' ? 'b' : 'a';
  const edited = editing === 'a' ? a : b;
  const ranked = a.ranking.value?.rank.ranked ?? [];
  const orders = ranked[0] !== undefined && ranked[0].pCtcvr !== null;
  const by = view.by ?? (orders ? 'pCtcvr' : 'pCtr');
  const order = useMemo(() => ranked.map(({ poi }) => poi), [ranked]);
  const { change: moved, previous } = useMoves(order);
  const names = new Map([...(a.chosen.value?.entries ?? [])].map(([id, entry]) => [id, nameOf(entry, catalogue)]));
  const layout = useMemo(
    () => rowLayout(a.chosen.value?.entries.values() ?? [], catalogue),
    [a.chosen.value, catalogue],
  );
  const differs = view.compare === 'scene' ? differing(view) : [];
  // Of two moments on one day, the hour is what differs.
  const oneDay = differs.some((name) => view.scene[name]?.slice(0, 10) === sceneB[name]?.slice(0, 10));
  const labelOf = (name: string, value: string | undefined): string => {
    const field = catalogue.fields.find((one) => one.name === name);
    if (value === undefined) return `${spoken(name)} not given`;
    if (field?.kind === 'time') return shortTime(value).slice(oneDay ? 11 : 0);
    if (field?.kind === 'number') return `${spoken(name)} ${value}`;
    return field?.values.find((one) => one.value === value)?.label ?? value;
  };
  const says = (draft: SceneDraft, bundle: string | null): string =>
    view.compare === 'bundle'
      ? (bundle ?? 'current bundle')
      : differs.length === 0
        ? 'the same scene'
        : differs
            .slice(0, 3)
            .map((name) => labelOf(name, draft[name]))
            .join(' · ');
  const busy = a.chosen.waiting || a.ranking.waiting;
  const present = new Set(
    [a, b].flatMap(({ ranking }) =>
      ranking.value === null ? [] : presentKeywords(ranking.value.moment, ranking.value.rank.ranked),
    ),
  );
  const compared = compares && b.ranking.value !== null && other !== null;

  return (
    <div className="page wide">
      <Head />
      <div className="explorer">
        <div className={building ? 'builder building' : 'builder'}>
          <button
            type="button"
            className="button builder-toggle"
            aria-expanded={building}
            onClick={() => setBuilding(!building)}
          >
            {building ? 'Hide the scene’s controls' : 'Change user, scene and candidates'}
          </button>
          <div className="panel builder-panel">
            <section className="builder-part" aria-labelledby="part-user">
              <h2 id="part-user">User</h2>
              <UserChoice view={view} catalogue={catalogue} change={change} side={a} />
            </section>
            <section className="builder-part" aria-labelledby="part-scene">
              <div className="row spread">
                <h2 id="part-scene">Scene</h2>
                {view.compare === 'scene' && (
                  <Choices
                    label="Scene that is changed"
                    hideLabel
                    strip
                    options={[
                      { value: 'a', label: 'A' },
                      { value: 'b', label: 'B' },
                    ]}
                    value={editing}
                    onChange={setSide}
                  />
                )}
              </div>
              <SceneBuilder
                catalogue={catalogue}
                scene={editing === 'a' ? view.scene : sceneB}
                marked={differs}
                middle={edited.middle}
                usesMiddle={view.place === 'middle'}
                onChange={(name, value) => change(withField(view, editing, name, value))}
                onUseMiddle={(use) => change({ ...view, place: use ? 'middle' : 'fields' })}
              />
            </section>
            <section className="builder-part" aria-labelledby="part-candidates">
              <h2 id="part-candidates">Candidates</h2>
              <CandidateChoice
                catalogue={catalogue}
                bundle={view.bundle}
                value={view.candidates}
                recalls={paths.value?.paths['/v1/recall'] !== undefined}
                names={names}
                onChange={(candidates) => change({ ...view, candidates })}
              />
              <p className="quiet small" role="status">
                {a.chosen.value === null ? '' : `${a.chosen.value.ids.length} POIs are ranked`}
                {understoodLine(a.chosen.value?.understood ?? null)}
              </p>
            </section>
          </div>
        </div>

        <div className="outcome">
          <div className="row spread outcome-tools">
            <Choices<Compare>
              label="Compare"
              hideLabel
              strip
              options={[
                { value: 'none', label: 'One scene' },
                { value: 'scene', label: 'Two scenes' },
                { value: 'bundle', label: 'Two bundles' },
              ]}
              value={view.compare}
              onChange={(compare) => {
                setSide(compare === 'scene' ? 'b' : 'a');
                change({ ...view, compare });
              }}
            />
            <div className="row">
              {orders && (
                <Choices
                  label="Ranked by"
                  hideLabel
                  strip
                  options={[
                    { value: 'pCtcvr', label: 'By order' },
                    { value: 'pCtr', label: 'By click' },
                  ]}
                  value={by}
                  onChange={(next) => change({ ...view, by: next === 'pCtcvr' ? null : next })}
                />
              )}
              <CopyLink view={view} />
            </div>
          </div>
          {view.compare === 'bundle' && <BundleChoice view={view} change={change} />}

          {a.error !== null && <Failure error={a.error} what="This scene cannot be ranked" again={a.again} />}
          {compares && b.error !== null && <Failure error={b.error} what="Scene B cannot be ranked" again={b.again} />}
          <Fallbacks reply={a.ranking.value?.rank.fallbacks ?? null} />

          <div className={busy ? 'answers busy' : 'answers'} aria-busy={busy}>
            {a.ranking.value === null && a.error === null && a.chosen.value?.ids.length !== 0 && (
              <>
                <Bones height={132} label="Ranking" />
                <Bones height={640} />
              </>
            )}
            {a.chosen.value?.ids.length === 0 && (
              <Empty title="No candidates yet">
                <p>Choose a group, or add POIs to the list, and their ranking appears here.</p>
              </Empty>
            )}
            {a.ranking.value !== null && a.chosen.value !== null && a.chosen.value.ids.length > 0 && !compares && (
              <div className="panel">
                <Reading moment={a.ranking.value.moment} ranked={ranked} />
                <Ranking
                  catalogue={catalogue}
                  entries={a.chosen.value.entries}
                  ranked={ranked.slice(0, view.shown)}
                  layout={layout}
                  moves={moved}
                  by={by}
                />
              </div>
            )}
            {compares && a.ranking.value !== null && b.ranking.value !== null && other !== null && (
              <div className="panel">
                {view.compare === 'scene' ? (
                  <div className="readings">
                    <Reading moment={a.ranking.value.moment} ranked={ranked} label="A" only={present} />
                    <Reading
                      moment={b.ranking.value.moment}
                      ranked={b.ranking.value.rank.ranked}
                      label="B"
                      only={present}
                    />
                  </div>
                ) : null}
                <Comparison
                  a={{
                    says: says(view.scene, view.bundle),
                    catalogue,
                    entries: a.chosen.value?.entries ?? new Map(),
                    ranked,
                    waiting: a.ranking.waiting,
                  }}
                  b={{
                    says: says(sceneB, view.otherBundle),
                    catalogue: other,
                    entries: b.chosen.value?.entries ?? new Map(),
                    ranked: b.ranking.value.rank.ranked,
                    waiting: b.ranking.waiting,
                  }}
                  shown={view.shown}
                  by={by}
                />
              </div>
            )}
            {ranked.length > view.shown && (!compares || compared) && (
              <button type="button" className="button more" onClick={() => change({ ...view, shown: view.shown + 25 })}>
                Show 25 more of {ranked.length}
              </button>
            )}
          </div>
          <p className="only-heard" role="status" aria-live="polite">
            {busy || ranked.length === 0 || compares
              ? ''
              : spokenChange(previous, order, view.shown, (id) => names.get(id) ?? id)}
          </p>
        </div>
      </div>
    </div>
  );
}

/** One of the rankings: its candidates, then their order. */
function useSide(view: View, scene: SceneDraft, catalogue: CatalogueSceneReply | null, bundle: string | null) {
  const kinds = useMemo(() => new Map(catalogue?.fields.map(({ name, kind }) => [name, kind] as const)), [catalogue]);
  const position = catalogue?.position?.fields;
  const own =
    view.place === 'fields' || position === undefined
      ? scene
      : Object.fromEntries(
          Object.entries(scene).filter(([name]) => name !== position.latitude && name !== position.longitude),
        );
  const given = catalogue === null ? null : sceneBody(own, kinds);
  const chosen = useChosen(view, scene, given, catalogue, bundle);
  const middle = chosen.value?.middle ?? null;
  const body =
    given === null || view.place === 'fields' || middle === null || position === undefined
      ? given
      : { ...given, [position.latitude]: middle.latitude, [position.longitude]: middle.longitude };
  const ranking = useRanking(
    view.user === null || chosen.value === null || body === null
      ? null
      : { user: view.user, scene: body, ids: chosen.value.ids },
    catalogue,
    bundle,
    view.by,
  );
  return {
    chosen,
    ranking,
    middle,
    error: chosen.error ?? ranking.error,
    again: () => {
      chosen.again();
      ranking.again();
    },
  };
}

/** How each POI moved since the ranking before this one, where both are of the same POIs. */
function useMoves(order: readonly string[]): { change: ReadonlyMap<string, Move>; previous: readonly string[] } {
  const seen = useRef<{ order: readonly string[]; previous: readonly string[] }>({ order: [], previous: [] });
  if (seen.current.order !== order && order.join('\n') !== seen.current.order.join('\n')) {
    const before = new Set(seen.current.order);
    const same = before.size === order.length && order.every((id) => before.has(id));
    seen.current = { order, previous: same ? seen.current.order : [] };
  }
  const { previous } = seen.current;
  return { change: previous.length === 0 ? new Map() : moves(previous, order), previous };
}

const shortTime = (value: string): string => value.replace(/^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2})(:\d{2})?$/, '$1 $2');

function UserChoice({
  view,
  catalogue,
  change,
  side,
}: {
  view: View;
  catalogue: CatalogueSceneReply;
  change: (view: View) => void;
  side: ReturnType<typeof useSide>;
}) {
  const known = side.ranking.value?.moment.user;
  return (
    <>
      <Combobox
        label="Find a user"
        placeholder={`Id or words, among ${catalogue.users.toLocaleString('en-GB')}`}
        scope={`users ${view.bundle} ${catalogue.model.bundle}`}
        search={async (query, signal) => (await askUsers(query, 12, view.bundle, signal)).map(userOption)}
        onPick={({ id }) => change({ ...view, user: id })}
        free={(text) => ({ id: text, title: text, detail: 'a user the model does not know' })}
      />
      <p className="user">
        <span className="user-id">{view.user ?? '…'}</span>
        <span className="quiet minor">
          {known === undefined ? ' ' : known === null ? 'new: ranked without a history' : columnsLine(known)}
        </span>
      </p>
    </>
  );
}

function Fallbacks({
  reply,
}: {
  reply: {
    user: boolean;
    pois: string[];
    scene: { field: string; text: string }[];
    features: { feature: string; value: string }[];
    store?: true | undefined;
  } | null;
}) {
  if (reply === null) return null;
  const said = [
    ...(reply.store
      ? ['The online store does not answer: what it knows of the user and the POIs counts as missing']
      : []),
    ...(reply.pois.length > 0 ? [`${reply.pois.length} POIs are unknown and ranked as new ones`] : []),
    ...reply.scene.map(({ field, text }) => `${spoken(field)} “${text}” has no embedding and counts as missing`),
    ...reply.features.map(({ feature, value }) => `${spoken(feature)} “${value}” was never seen in training`),
  ];
  if (said.length === 0) return null;
  return (
    <div className="notice warn minor" role="status">
      <ul>
        {said.map((text) => (
          <li key={text}>{text}.</li>
        ))}
      </ul>
    </div>
  );
}

interface ServerBundles {
  bundles: { alias: string; model: { name: string; bundle: string } }[];
}

/** Which loaded bundles stand side by side. */
function BundleChoice({ view, change }: { view: View; change: (view: View) => void }) {
  const { value, error } = useAnswer(
    'bundles',
    (signal) => request<ServerBundles>('/v1/admin/state', { signal, quiet: true }),
    {
      everyMs: 15_000,
    },
  );
  const bundles = value?.bundles ?? [];
  const spare = bundles.find(({ alias }) => alias !== (view.bundle ?? 'current'))?.alias ?? null;
  useEffect(() => {
    if (view.otherBundle === null && spare !== null) change({ ...view, otherBundle: spare });
  }, [view, spare, change]);
  const id = useId();
  const field = (label: string, alias: string | null, set: (alias: string | null) => void) => (
    <div className="field">
      <label className="label" htmlFor={`${id}-${label}`}>
        {label}
      </label>
      {bundles.length > 0 ? (
        <select
          id={`${id}-${label}`}
          className="input"
          value={alias ?? 'current'}
          onChange={(event) => set(event.target.value === 'current' ? null : event.target.value)}
        >
          {bundles.map((one) => (
            <option key={one.alias} value={one.alias}>
              {one.alias} · {one.model.name} {one.model.bundle.slice(0, 8)}
            </option>
          ))}
        </select>
      ) : (
        <input
          id={`${id}-${label}`}
          className="input"
          value={alias ?? ''}
          placeholder="alias"
          onChange={(event) => set(event.target.value || null)}
        />
      )}
    </div>
  );
  if (value !== null && bundles.length < 2) {
    return (
      <Empty title="Only one bundle is loaded">
        <p>
          Start the server with <code>--bundles DIR</code> and load a second one under a name of its own:{' '}
          <code>POST /v1/admin/reload {'{"bundle": "…", "alias": "next"}'}</code>. It then stands beside the current one
          here.
        </p>
      </Empty>
    );
  }
  return (
    <div className="panel bundle-choice">
      {field('A', view.bundle, (bundle) => change({ ...view, bundle }))}
      {field('B', view.otherBundle, (otherBundle) => change({ ...view, otherBundle: otherBundle ?? 'current' }))}
      {error !== null && (
        <p className="quiet small">
          Which bundles are loaded is told to keys with the scope “admin”; type their aliases.
        </p>
      )}
    </div>
  );
}

function CopyLink({ view }: { view: View }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  if (typeof navigator.clipboard?.writeText !== 'function') return null;
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(`${window.location.origin}${window.location.pathname}?${toQuery(view)}`);
    setCopied(true);
  };
  return (
    <button type="button" className="button tight copy" onClick={() => void copy().catch(() => {})}>
      <span aria-live="polite">{copied ? 'Copied' : 'Copy link'}</span>
    </button>
  );
}
