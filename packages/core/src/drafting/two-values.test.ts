import { expect, test } from 'vitest';
import { twoValues } from './two-values.js';

test.each([
  [['ja', 'nein'], 'ja'],
  [['N', 'J'], 'J'],
  [['否', '是'], '是'],
  [['oui', 'non'], 'oui'],
  [['Sí', 'No'], 'Sí'],
  [['nicht geklickt', 'geklickt'], 'geklickt'],
  [['点击', '未点击'], '点击'],
])('of %j the second is what happened', (values, positive) => {
  expect(twoValues(values)).toMatchObject({ positive, plain: false });
});

test('what prepare reads as it is needs no mapping, however it is written', () => {
  for (const values of [
    ['0', '1'],
    ['No', 'yes', 'YES'],
    ['false', 'true'],
    ['Y', 'N'],
  ])
    expect(twoValues(values)).toMatchObject({ plain: true });
});

test('two words that do not say are left open, and three are not two', () => {
  expect(twoValues(['rot', 'blau'])).toMatchObject({ positive: null });
  expect(twoValues(['m', 'f'])).toMatchObject({ positive: null });
  expect(twoValues(['ja', 'nein', 'vielleicht'])).toBeNull();
  expect(twoValues(['ja'])).toBeNull();
});
