/** A probability as people read it: 8.1 %, 0.42 %, < 0.01 %. */
export function percent(p: number): string {
  const value = p * 100;
  if (value !== 0 && Math.abs(value) < 0.01) return value > 0 ? '< 0.01 %' : '> −0.01 %';
  return `${minus(value.toFixed(Math.abs(value) >= 10 ? 1 : 2))} %`;
}

/** A part of a whole that somebody chose: 50 %, 2.5 %. */
export const share = (x: number): string => `${Number((x * 100).toFixed(2))} %`;

/** A relative change with its sign: +2.1 %, −0.30 %. */
export function lift(x: number): string {
  const value = x * 100;
  const digits = Math.abs(value) >= 10 ? 1 : 2;
  return `${value > 0 ? '+' : ''}${minus(value.toFixed(digits))} %`;
}

/** A number to three or four digits: 12,345 · 3.14 · 0.0021 · 1.2e-6. */
export function number(x: number): string {
  const size = Math.abs(x);
  if (x === 0) return '0';
  if (size >= 1e9 || size < 1e-4) return minus(x.toExponential(2));
  if (size >= 1000) return minus(Math.round(x).toLocaleString('en-GB'));
  if (Number.isInteger(x)) return minus(String(x));
  return minus(
    x
      .toPrecision(size >= 100 ? 4 : 3)
      .replace(/(\.\d*?)0+$/, '$1')
      .replace(/\.$/, ''),
  );
}

/** Milliseconds as latency is read: 0.42 ms, 3.1 ms, 120 ms, 1.4 s. */
export function milliseconds(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms >= 100 ? Math.round(ms) : ms >= 1 ? ms.toFixed(1) : ms.toFixed(2)} ms`;
}

/** Bytes in binary units: 512 B, 1.5 MiB. */
export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = n;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** A duration in its two largest units: 42 s, 3 min 5 s, 2 h 10 min, 4 d 3 h. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(s / 86_400), 'd'],
    [Math.floor(s / 3600) % 24, 'h'],
    [Math.floor(s / 60) % 60, 'min'],
    [s % 60, 's'],
  ];
  const from = parts.findIndex(([value]) => value > 0);
  if (from === -1) return '0 s';
  return parts
    .slice(from, from + 2)
    .filter(([value]) => value > 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(' ');
}

/** How long ago a moment was. */
export function ago(iso: string, now = Date.now()): string {
  const seconds = (now - Date.parse(iso)) / 1000;
  if (!Number.isFinite(seconds)) return '';
  if (seconds < 5) return 'just now';
  return `${duration(seconds).split(' ').slice(0, 2).join(' ')} ago`;
}

/** A moment on this machine's clock: 23 Nov 2026, 01:04. */
export function moment(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  return date.toLocaleString('en-GB', {
    day: 'numeric',
    month: 'short',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
  });
}

const minus = (text: string): string => text.replace('-', '−');
