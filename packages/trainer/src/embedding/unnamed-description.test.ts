import { expect, test } from 'vitest';
import { unnamedDescription } from './unnamed-description.js';

test('a description loses its dish by name, in one script or both, in any case, and nothing else', () => {
  const of = (text: string) => unnamedDescription(text, 'mapo tofu 麻婆豆腐');
  expect(of('Mapo tofu 麻婆豆腐 is served with rice.')).toBe('it is served with rice.');
  expect(of('A plate of mapo tofu is fiery, and mapo tofu suits the noon break.')).toBe(
    'A plate of it is fiery, and it suits the noon break.',
  );
  expect(of('Tofu of another kind is mild; Amapo tofurkey too.')).toBe(
    'Tofu of another kind is mild; Amapo tofurkey too.',
  );
});

test('names hold characters that patterns would read, and may be in one script alone', () => {
  expect(unnamedDescription('Rice (fried) is rich.', 'rice (fried)')).toBe('it is rich.');
  expect(unnamedDescription('来一份麻婆豆腐吧', 'mapo tofu 麻婆豆腐')).toBe('来一份it吧');
  expect(unnamedDescription('麻婆豆腐 is hot', '麻婆豆腐')).toBe('it is hot');
});
