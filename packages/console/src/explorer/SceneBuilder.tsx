import { useId } from 'react';
import type { CatalogueSceneReply } from '../api/types';
import { Choices } from '../design/Choices';
import { Slider } from '../design/Slider';
import { type SceneDraft, spoken } from './view';

type Field = CatalogueSceneReply['fields'][number];

interface SceneBuilderProps {
  catalogue: CatalogueSceneReply;
  scene: SceneDraft;
  /** fields that are the other scene's business too, and differ there */
  marked: readonly string[];
  /** position that is used where the scene gives none */
  middle: { latitude: number; longitude: number } | null;
  usesMiddle: boolean;
  onChange: (name: string, value: string | null) => void;
  onUseMiddle: (use: boolean) => void;
}

/** Up to so many values are all shown; more go into a list. */
const SEEN = 6;

/** Controls for every field that the model's schema names: what they are called and take comes from the server. */
export function SceneBuilder({
  catalogue,
  scene,
  marked,
  middle,
  usesMiddle,
  onChange,
  onUseMiddle,
}: SceneBuilderProps) {
  const { position } = catalogue;
  const placed = position === null ? [] : [position.fields.latitude, position.fields.longitude];
  // In the order in which the model reads what follows from them.
  const place = ({ keywords }: Field): number =>
    Math.min(catalogue.keywords.length, ...keywords.map((keyword) => catalogue.keywords.indexOf(keyword)));
  const fields = catalogue.fields.filter(({ name }) => !placed.includes(name));
  const columns = fields.filter(({ kind }) => kind !== 'keyword').sort((a, b) => place(a) - place(b));
  const keywords = fields.filter(({ kind }) => kind === 'keyword');
  const given = keywords.filter(({ name }) => scene[name] !== undefined).length;
  const control = (field: Field) => (
    <div key={field.name} className={marked.includes(field.name) ? 'scene-field differs' : 'scene-field'}>
      <Control
        field={field}
        value={scene[field.name] ?? null}
        note={marked.includes(field.name) ? 'differs between A and B' : undefined}
        onChange={(value) => onChange(field.name, value)}
      />
    </div>
  );
  return (
    <div className="scene-fields">
      {columns.map(control)}
      {position !== null && (
        <Position
          fields={catalogue.fields.filter(({ name }) => placed.includes(name))}
          scene={scene}
          middle={middle}
          usesMiddle={usesMiddle}
          onChange={onChange}
          onUseMiddle={onUseMiddle}
        />
      )}
      {keywords.length > 0 && (
        <details className="more-fields">
          <summary>
            Say a keyword directly
            {given > 0 && <span className="badge good">{given}</span>}
          </summary>
          <p className="quiet minor">Instead of what follows from the fields above.</p>
          {keywords.map(control)}
        </details>
      )}
    </div>
  );
}

interface ControlProps {
  field: Field;
  value: string | null;
  note: string | undefined;
  onChange: (value: string | null) => void;
}

function Control({ field, value, note, onChange }: ControlProps) {
  const id = useId();
  const label = spoken(field.name);
  if (field.kind === 'time') return <TimeControl field={field} value={value} onChange={onChange} />;
  if (field.kind === 'number') return <NumberControl field={field} value={value} onChange={onChange} />;
  const options = field.values.map((one) => ({ value: one.value, label: one.label ?? one.value }));
  // A value that came with a link and that this model does not list is shown all the same.
  if (value !== null && !options.some((option) => option.value === value)) options.unshift({ value, label: value });
  if (field.values.length > 0 && field.values.length <= SEEN) {
    return (
      <Choices
        label={label}
        {...(note === undefined ? {} : { note })}
        options={[{ value: '', label: 'Not given' }, ...options]}
        value={value ?? ''}
        onChange={(next) => onChange(next === '' ? null : next)}
      />
    );
  }
  return (
    <div className="field">
      <label className="label" htmlFor={id}>
        {label}
        {note !== undefined && <span className="only-heard">, {note}</span>}
      </label>
      {field.values.length > 0 ? (
        <select
          id={id}
          className="input"
          value={value ?? ''}
          onChange={(event) => onChange(event.target.value || null)}
        >
          <option value="">Not given</option>
          {options.map((option) => (
            <option key={option.value} value={option.value}>
              {option.label}
            </option>
          ))}
        </select>
      ) : (
        <input
          id={id}
          className="input"
          value={value ?? ''}
          placeholder="Not given"
          onChange={(event) => onChange(event.target.value || null)}
        />
      )}
    </div>
  );
}

const STEP_MINUTES = 15;

/** Day and time of day apart: the day is picked, the hour is dragged while the ranking follows. */
function TimeControl({ field, value, onChange }: Omit<ControlProps, 'note'>) {
  const id = useId();
  const match = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}):(\d{2}))?/.exec(value ?? '');
  const day = match?.[1] ?? null;
  const minutes = match?.[2] === undefined ? 12 * 60 : Number(match[2]) * 60 + Number(match[3]);
  const two = (n: number): string => String(n).padStart(2, '0');
  const clock = (m: number): string => `${two(Math.floor(m / 60))}:${two(m % 60)}`;
  const set = (nextDay: string, m: number): void => onChange(`${nextDay}T${clock(m)}:00`);
  const weekday =
    day === null ? '' : new Date(`${day}T00:00:00Z`).toLocaleDateString('en-GB', { weekday: 'long', timeZone: 'UTC' });
  return (
    <fieldset className="field time">
      <legend className="label">{spoken(field.name)}</legend>
      <div className="time-row">
        <input
          id={id}
          type="date"
          className="input"
          aria-label="Day"
          value={day ?? ''}
          onChange={(event) => (event.target.value === '' ? onChange(null) : set(event.target.value, minutes))}
        />
        <output className="time-shown" htmlFor={id}>
          {day === null ? 'Not given' : `${weekday}, ${clock(minutes)}`}
        </output>
      </div>
      <Slider
        id={`${id}-hour`}
        label="Time of day"
        low={0}
        high={24 * 60 - STEP_MINUTES}
        step={STEP_MINUTES}
        value={day === null ? null : minutes}
        typical={minutes}
        spoken={day === null ? 'not given' : `${clock(minutes)}, ${weekday}`}
        onChange={(m) => set(day ?? new Date().toISOString().slice(0, 10), m)}
      />
    </fieldset>
  );
}

function NumberControl({ field, value, onChange }: Omit<ControlProps, 'note'>) {
  const id = useId();
  const { range } = field;
  const label = spoken(field.name);
  const number = value === null || value === '' ? null : Number(value);
  const step = range === undefined ? undefined : stepOf(range.high - range.low);
  return (
    <div className="field">
      <div className="row spread">
        <label className="label" htmlFor={id}>
          {label}
        </label>
        {value !== null && (
          <button type="button" className="button plain tight" onClick={() => onChange(null)}>
            Clear<span className="only-heard"> {label}</span>
          </button>
        )}
      </div>
      <div className={range === undefined ? '' : 'number-row'}>
        {range !== undefined && (
          <Slider
            id={`${id}-range`}
            label={label}
            low={range.low}
            high={range.high}
            step={step!}
            value={number}
            typical={range.typical}
            spoken={number === null ? 'not given' : String(number)}
            onChange={(next) => onChange(String(Number(next.toFixed(6))))}
          />
        )}
        <input
          id={id}
          type="number"
          className="input"
          step="any"
          value={value ?? ''}
          placeholder="Not given"
          onChange={(event) => onChange(event.target.value === '' ? null : event.target.value)}
        />
      </div>
    </div>
  );
}

/** A step that gives about a hundred of them, and is 1, 2 or 5 with noughts. */
function stepOf(width: number): number {
  const rough = width / 100;
  const power = 10 ** Math.floor(Math.log10(rough));
  const lead = rough / power;
  return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

interface PositionProps {
  fields: readonly Field[];
  scene: SceneDraft;
  middle: { latitude: number; longitude: number } | null;
  usesMiddle: boolean;
  onChange: (name: string, value: string | null) => void;
  onUseMiddle: (use: boolean) => void;
}

/** Where the user is: in the middle of the POIs' group, or where the numbers say. */
function Position({ fields, scene, middle, usesMiddle, onChange, onUseMiddle }: PositionProps) {
  const id = useId();
  return (
    <fieldset className="field">
      <legend className="label">Position</legend>
      <label className="check">
        <input type="checkbox" checked={usesMiddle} onChange={(event) => onUseMiddle(event.target.checked)} />
        <span>
          In the middle of the candidates
          <span className="quiet small">
            {usesMiddle &&
              (middle === null
                ? ' · these have none, so it is not given'
                : ` · ${middle.latitude.toFixed(3)}, ${middle.longitude.toFixed(3)}`)}
          </span>
        </span>
      </label>
      {!usesMiddle && (
        <div className="position-row">
          {fields.map(({ name }) => (
            <div key={name} className="field">
              <label className="small quiet" htmlFor={`${id}-${name}`}>
                {spoken(name)}
              </label>
              <input
                id={`${id}-${name}`}
                type="number"
                step="any"
                className="input"
                placeholder="Not given"
                value={scene[name] ?? ''}
                onChange={(event) => onChange(name, event.target.value || null)}
              />
            </div>
          ))}
        </div>
      )}
    </fieldset>
  );
}
