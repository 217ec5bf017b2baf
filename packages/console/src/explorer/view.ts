/**
 * What the explorer shows, and its form in the address: everything that a person chose and nothing else, so that a link shows another person
 * the same.
 */

/** A scene as it is built: texts as they are typed; fields that are left out are not given. */
export type SceneDraft = Readonly<Record<string, string>>;

/** Which POIs are ranked. */
export type Candidates =
  /** the first ones of the catalogue */
  | { kind: 'first' }
  /** a group by a column; value null follows the scene field with the same values */
  | { kind: 'group'; column: string; value: string | null }
  /** those nearest to a text, or to the user and scene where it is empty */
  | { kind: 'recall'; text: string }
  | { kind: 'list'; ids: readonly string[] };

export type Compare = 'none' | 'scene' | 'bundle';

export interface View {
  user: string | null;
  scene: SceneDraft;
  /** of scene B, the fields that differ from A's; an empty text is a field that B does not give */
  other: SceneDraft;
  candidates: Candidates;
  /** where the moment is: in the middle of the candidates' group, or as the scene's fields say */
  place: 'middle' | 'fields';
  compare: Compare;
  /** aliases of bundles; null is the one that answers by default */
  bundle: string | null;
  otherBundle: string | null;
  by: 'pCtr' | 'pCtcvr' | null;
  shown: number;
}

export const SHOWN = 15;

export const EMPTY_VIEW: View = {
  user: null,
  scene: {},
  other: {},
  candidates: { kind: 'first' },
  place: 'middle',
  compare: 'none',
  bundle: null,
  otherBundle: null,
  by: null,
  shown: SHOWN,
};

/** A view as the query of an address; what is as it always is, is left out. */
export function toQuery(view: View): string {
  const query = new URLSearchParams();
  if (view.user !== null) query.set('user', view.user);
  for (const [name, value] of Object.entries(view.scene)) query.set(`scene.${name}`, value);
  if (view.compare !== 'none') query.set('compare', view.compare);
  if (view.compare === 'scene') for (const [name, value] of Object.entries(view.other)) query.set(`b.${name}`, value);
  if (view.bundle !== null) query.set('bundle', view.bundle);
  if (view.compare === 'bundle' && view.otherBundle !== null) query.set('b-bundle', view.otherBundle);
  const { candidates } = view;
  if (candidates.kind === 'group') query.set(`in.${candidates.column}`, candidates.value ?? '');
  if (candidates.kind === 'recall') query.set('near', candidates.text);
  if (candidates.kind === 'list') query.set('pois', candidates.ids.map(encodeURIComponent).join(','));
  if (view.place === 'fields') query.set('place', 'fields');
  if (view.by !== null) query.set('by', view.by);
  if (view.shown !== SHOWN) query.set('shown', String(view.shown));
  return query.toString();
}

/** The view of an address; what cannot be read is as it always is. */
export function fromQuery(text: string): View {
  const query = new URLSearchParams(text);
  const scene: Record<string, string> = {};
  const other: Record<string, string> = {};
  let candidates: Candidates = { kind: 'first' };
  for (const [name, value] of query) {
    if (name.startsWith('scene.') && value !== '') scene[name.slice(6)] = value;
    if (name.startsWith('b.')) other[name.slice(2)] = value;
    if (name.startsWith('in.'))
      candidates = { kind: 'group', column: name.slice(3), value: value === '' ? null : value };
  }
  const near = query.get('near');
  if (near !== null) candidates = { kind: 'recall', text: near };
  const pois = query.get('pois');
  if (pois !== null)
    candidates = {
      kind: 'list',
      ids: pois
        .split(',')
        .filter((id) => id !== '')
        .map(decoded),
    };
  const compare = query.get('compare');
  const by = query.get('by');
  const shown = Number(query.get('shown'));
  return {
    user: query.get('user'),
    scene,
    other,
    candidates,
    place: query.get('place') === 'fields' ? 'fields' : 'middle',
    compare: compare === 'scene' || compare === 'bundle' ? compare : 'none',
    bundle: query.get('bundle'),
    otherBundle: query.get('b-bundle'),
    by: by === 'pCtr' || by === 'pCtcvr' ? by : null,
    shown: Number.isInteger(shown) && shown >= 1 && shown <= 1000 ? shown : SHOWN,
  };
}

function decoded(id: string): string {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}

/** Scene B: A's fields, with those of its own instead. */
export function otherScene(view: View): SceneDraft {
  const scene = { ...view.scene, ...view.other };
  return Object.fromEntries(Object.entries(scene).filter(([, value]) => value !== ''));
}

/** Fields in which B gives something else than A, or does not give what A does. */
export function differing(view: View): string[] {
  const b = otherScene(view);
  return [...new Set([...Object.keys(view.scene), ...Object.keys(b)])].filter((name) => view.scene[name] !== b[name]);
}

/** The view with a field of scene A or B changed; null takes it away. */
export function withField(view: View, side: 'a' | 'b', name: string, value: string | null): View {
  if (side === 'a') {
    const { [name]: _, ...rest } = view.scene;
    return { ...view, scene: value === null || value === '' ? rest : { ...rest, [name]: value } };
  }
  const { [name]: _, ...rest } = view.other;
  const same = (view.scene[name] ?? '') === (value ?? '');
  return { ...view, other: same ? rest : { ...rest, [name]: value ?? '' } };
}

type Kind = 'time' | 'number' | 'text' | 'keyword';

/** A scene as the API takes it: numbers as numbers, what is not given left out. */
export function sceneBody(draft: SceneDraft, kinds: ReadonlyMap<string, Kind>): Record<string, string | number> {
  const body: Record<string, string | number> = {};
  for (const [name, text] of Object.entries(draft)) {
    const kind = kinds.get(name);
    // Fields of another model stay in the address, for when one goes back to it.
    if (kind === undefined || text === '') continue;
    if (kind === 'number') {
      const number = Number(text);
      if (Number.isFinite(number)) body[name] = number;
    } else {
      body[name] = text;
    }
  }
  return body;
}

/** A name of a field or column as a person would say it: "home_city" → "Home city". */
export function spoken(name: string): string {
  const words = name
    .replaceAll(/[_-]+/g, ' ')
    .replaceAll(/([a-z])([A-Z])/g, '$1 $2')
    .trim();
  return words.charAt(0).toUpperCase() + words.slice(1).toLowerCase();
}
