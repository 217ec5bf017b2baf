import { type KeyboardEvent, useEffect, useId, useRef, useState } from 'react';
import { useAnswer } from '../api/use-answer';
import './combobox.css';

export interface Option {
  id: string;
  title: string;
  detail?: string;
}

interface ComboboxProps {
  label: string;
  placeholder: string;
  /** changes where another catalogue is searched */
  scope: string;
  search: (query: string, signal: AbortSignal) => Promise<Option[]>;
  onPick: (option: Option) => void;
  /** what is typed and is no option may be taken as it is */
  free?: (text: string) => Option;
}

/** Searches while one types, and lets one of what was found be picked: the combobox of the ARIA practices, with a list below. */
export function Combobox({ label, placeholder, scope, search, onPick, free }: ComboboxProps) {
  const id = useId();
  const [text, setText] = useState('');
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(0);
  const [asked, setAsked] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const query = text.trim();
  const { value, error, waiting } = useAnswer(
    open ? `${scope} ${query}` : null,
    async (signal) => ({ query, options: await search(query, signal) }),
    {
      delayMs: query === '' ? 0 : 140,
    },
  );
  const found = value?.options ?? [];
  // What is seen may still be what was found before the last letter.
  const fresh = value?.query === query;
  const own = free !== undefined && query !== '' && !found.some((option) => option.id === query) ? [free(query)] : [];
  const options = [...found, ...own];
  const current = options[Math.min(active, options.length - 1)];

  useEffect(() => {
    if (!open) return;
    const away = (event: PointerEvent): void => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener('pointerdown', away);
    return () => document.removeEventListener('pointerdown', away);
  }, [open]);

  useEffect(() => {
    if (open && current !== undefined)
      document.getElementById(`${id}-${current.id}`)?.scrollIntoView({ block: 'nearest' });
  }, [current, open, id]);

  const pick = (option: Option): void => {
    onPick(option);
    setText('');
    setOpen(false);
    setActive(0);
  };
  // Enter was pressed before the answer came.
  // biome-ignore lint/correctness/useExhaustiveDependencies: when the answer is there, once
  useEffect(() => {
    if (!asked || !fresh) return;
    setAsked(false);
    if (options[0] !== undefined) pick(options[0]);
  }, [asked, fresh]);
  const press = (event: KeyboardEvent): void => {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      if (!open) setOpen(true);
      else if (options.length > 0) {
        const step = event.key === 'ArrowDown' ? 1 : options.length - 1;
        setActive((Math.min(active, options.length - 1) + step) % options.length);
      }
    } else if (event.key === 'Enter' && open) {
      event.preventDefault();
      if (!fresh) setAsked(true);
      else if (current !== undefined) pick(current);
    } else if (event.key === 'Escape' && open) {
      event.preventDefault();
      setOpen(false);
    }
  };
  return (
    <div className="field combobox" ref={root}>
      <label className="label" htmlFor={id}>
        {label}
      </label>
      <input
        id={id}
        className="input"
        role="combobox"
        aria-expanded={open}
        aria-controls={`${id}-list`}
        aria-autocomplete="list"
        aria-activedescendant={open && current !== undefined ? `${id}-${current.id}` : undefined}
        autoComplete="off"
        spellCheck={false}
        placeholder={placeholder}
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setOpen(true);
          setActive(0);
          setAsked(false);
        }}
        onFocus={() => setOpen(true)}
        onClick={() => setOpen(true)}
        onBlur={(event) => {
          if (!root.current?.contains(event.relatedTarget)) setOpen(false);
        }}
        onKeyDown={press}
      />
      <div
        id={`${id}-list`}
        role="listbox"
        aria-label={label}
        className="options"
        hidden={!open || options.length === 0}
      >
        {open &&
          options.map((option, i) => (
            <div
              key={option.id}
              id={`${id}-${option.id}`}
              role="option"
              tabIndex={-1}
              aria-selected={option === current}
              className="option"
              onPointerMove={() => setActive(i)}
              onPointerDown={(event) => {
                event.preventDefault();
                pick(option);
              }}
            >
              <span className="option-title">{option.title}</span>
              {option.detail !== undefined && <span className="option-detail">{option.detail}</span>}
            </div>
          ))}
      </div>
      <p className="only-heard" role="status">
        {!open ? '' : error !== null ? error.message : waiting ? 'Searching' : `${options.length} found`}
      </p>
      {open && options.length === 0 && (
        <p className="options option quiet" aria-hidden="true">
          {error !== null ? error.message : waiting ? 'Searching…' : 'Nothing found'}
        </p>
      )}
    </div>
  );
}
