import { useEffect, useId, useState } from 'react';
import type { CatalogueSceneReply } from '../api/types';
import { Choices } from '../design/Choices';
import { Combobox } from '../design/Combobox';
import { searchPois } from './catalogue';
import { type Candidates, spoken } from './view';

interface CandidateChoiceProps {
  catalogue: CatalogueSceneReply;
  bundle: string | null;
  value: Candidates;
  /** whether the server can recall */
  recalls: boolean;
  names: ReadonlyMap<string, string>;
  onChange: (value: Candidates) => void;
}

/** Which POIs are ranked: a group, those nearest to a text, or a list of one's own. */
export function CandidateChoice({ catalogue, bundle, value, recalls, names, onChange }: CandidateChoiceProps) {
  const { facets } = catalogue;
  const first = facets.find(({ follows }) => follows !== null) ?? facets[0];
  const kinds: { value: Candidates['kind']; label: string }[] = [
    ...(first === undefined
      ? [{ value: 'first' as const, label: 'First 100' }]
      : [{ value: 'group' as const, label: 'Group' }]),
    ...(recalls ? [{ value: 'recall' as const, label: 'Recall' }] : []),
    { value: 'list', label: 'List' },
  ];
  const change = (kind: Candidates['kind']): void => {
    if (kind === 'group' && first !== undefined) onChange(groupChoice(first));
    else if (kind === 'recall') onChange({ kind, text: '' });
    else if (kind === 'list') onChange({ kind, ids: [] });
    else onChange({ kind: 'first' });
  };
  return (
    <div className="candidate-choice">
      <Choices label="Candidates from" hideLabel strip options={kinds} value={value.kind} onChange={change} />
      {value.kind === 'group' && <GroupChoice catalogue={catalogue} value={value} onChange={onChange} />}
      {value.kind === 'recall' && (
        <RecallChoice text={value.text} onChange={(text) => onChange({ kind: 'recall', text })} />
      )}
      {value.kind === 'list' && (
        <>
          <Combobox
            label="Add a POI"
            placeholder="Name, place or id"
            scope={`pois ${bundle} ${catalogue.model.bundle}`}
            search={(query, signal) => searchPois(catalogue, bundle, query, signal)}
            onPick={({ id }) => {
              if (!value.ids.includes(id)) onChange({ kind: 'list', ids: [...value.ids, id] });
            }}
          />
          {value.ids.length === 0 ? (
            <p className="quiet minor">Add the POIs that shall be ranked.</p>
          ) : (
            <ul className="picked" aria-label="POIs to rank">
              {value.ids.map((id) => (
                <li key={id} className="picked-one">
                  <span>{names.get(id) ?? id}</span>
                  <button
                    type="button"
                    aria-label={`Remove ${names.get(id) ?? id}`}
                    onClick={() => onChange({ kind: 'list', ids: value.ids.filter((other) => other !== id) })}
                  >
                    <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
                      <path d="m3 3 6 6m0-6-6 6" />
                    </svg>
                  </button>
                </li>
              ))}
            </ul>
          )}
        </>
      )}
    </div>
  );
}

/** The usual choice by a column: following the scene where it can. */
export function groupChoice({ column, groups, follows }: CatalogueSceneReply['facets'][number]): Candidates {
  return { kind: 'group', column, value: follows === null ? (groups[0]?.value ?? null) : null };
}

function GroupChoice({
  catalogue,
  value,
  onChange,
}: {
  catalogue: CatalogueSceneReply;
  value: Extract<Candidates, { kind: 'group' }>;
  onChange: (value: Candidates) => void;
}) {
  const id = useId();
  const facet = catalogue.facets.find(({ column }) => column === value.column);
  const labels = new Map(
    catalogue.fields
      .find(({ name }) => name === facet?.follows)
      ?.values.map((one) => [one.value, one.label ?? one.value]),
  );
  return (
    <div className="group-row">
      <div className="field">
        <label className="small quiet" htmlFor={`${id}-column`}>
          By
        </label>
        <select
          id={`${id}-column`}
          className="input"
          value={value.column}
          onChange={(event) => {
            const next = catalogue.facets.find(({ column }) => column === event.target.value);
            if (next !== undefined) onChange(groupChoice(next));
          }}
        >
          {catalogue.facets.map(({ column }) => (
            <option key={column} value={column}>
              {spoken(column)}
            </option>
          ))}
        </select>
      </div>
      <div className="field">
        <label className="small quiet" htmlFor={`${id}-value`}>
          Which
        </label>
        <select
          id={`${id}-value`}
          className="input"
          value={value.value ?? ''}
          onChange={(event) => onChange({ ...value, value: event.target.value || null })}
        >
          {facet?.follows != null && <option value="">As the scene’s {spoken(facet.follows).toLowerCase()}</option>}
          {facet?.groups.map((group) => (
            <option key={group.value} value={group.value}>
              {labels.get(group.value) ?? group.value} ({group.count})
            </option>
          ))}
        </select>
      </div>
    </div>
  );
}

function RecallChoice({ text, onChange }: { text: string; onChange: (text: string) => void }) {
  const id = useId();
  const [typed, setTyped] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => {
      if (typed !== text) onChange(typed);
    }, 350);
    return () => clearTimeout(timer);
  }, [typed, text, onChange]);
  return (
    <div className="field">
      <label className="label" htmlFor={id}>
        Near to
      </label>
      <input
        id={id}
        className="input"
        placeholder="spicy noodles for a cold night"
        value={typed}
        aria-describedby={`${id}-note`}
        onChange={(event) => setTyped(event.target.value)}
      />
      <p id={`${id}-note`} className="quiet small">
        Left empty, the user and the scene decide.
      </p>
    </div>
  );
}
