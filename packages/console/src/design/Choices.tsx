import { useId } from 'react';

interface ChoicesProps<T extends string> {
  /** said before the choices; not drawn where `quiet` */
  label: string;
  options: readonly { value: T; label: string }[];
  value: T;
  onChange: (value: T) => void;
  /** drawn as one strip */
  strip?: boolean;
  hideLabel?: boolean;
  note?: string;
}

/** One of a few, all of which are seen: radio buttons, moved through with the arrow keys. */
export function Choices<T extends string>({
  label,
  options,
  value,
  onChange,
  strip = false,
  hideLabel = false,
  note,
}: ChoicesProps<T>) {
  const name = useId();
  return (
    <fieldset className="field">
      <legend className={hideLabel ? 'only-heard' : 'label'}>
        {label}
        {note !== undefined && <span className="only-heard">, {note}</span>}
      </legend>
      <div className={strip ? 'segments' : 'choices'}>
        {options.map((option) => (
          <label key={option.value} className="choice">
            <input
              type="radio"
              name={name}
              value={option.value}
              checked={option.value === value}
              onChange={() => onChange(option.value)}
            />
            <span>{option.label}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
