import { useEffect, useRef } from 'react';

interface SliderProps {
  id: string;
  label: string;
  low: number;
  high: number;
  step: number;
  /** null is not given: the thumb stands at `typical` */
  value: number | null;
  typical: number;
  spoken: string;
  onChange: (value: number) => void;
}

/** A range with its filled part drawn. */
export function Slider({ id, label, low, high, step, value, typical, spoken, onChange }: SliderProps) {
  const input = useRef<HTMLInputElement>(null);
  const at = value ?? typical;
  useEffect(() => {
    const share = value === null ? 0 : (Math.min(high, Math.max(low, at)) - low) / (high - low);
    input.current?.style.setProperty('--filled', `${(share * 100).toFixed(2)}%`);
  }, [at, high, low, value]);
  return (
    <input
      ref={input}
      id={id}
      type="range"
      className={value === null ? 'unset' : ''}
      aria-label={label}
      aria-valuetext={spoken}
      min={low}
      max={high}
      step={step}
      value={at}
      onChange={(event) => onChange(Number(event.target.value))}
    />
  );
}
