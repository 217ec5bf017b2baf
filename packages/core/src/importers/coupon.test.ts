import { existsSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { importCoupon, openDataset } from '../index.js';

const header =
  'destination,passanger,weather,temperature,time,coupon,expiration,gender,age,maritalStatus,has_children,education,occupation,income,Bar,CoffeeHouse,CarryAway,RestaurantLessThan20,Restaurant20To50,toCoupon_GEQ5min,toCoupon_GEQ15min,toCoupon_GEQ25min,direction_same,direction_opp,Y';

/** Made-up rows in the published format. */
function published(car: boolean): string {
  let text = `${car ? header.replace('income,', 'income,car,') : header}\n`;
  for (let i = 0; i < 400; i++) {
    const coupon = ['Bar', 'Coffee House', 'Restaurant(<20)', 'Restaurant(20-50)'][i % 4];
    text += `No Urgent Place,Alone,Sunny,${i % 2 ? 80 : 30},2PM,${coupon},${i % 3 ? '1d' : '2h'},Male,${20 + (i % 9)},Single,0,Bachelors degree,"Sales, Related",$1,${car ? ',' : ''}never,less1,4~8,4~8,,1,0,0,0,1,${(i >> 2) % 2}\n`;
  }
  return text;
}

async function attempt(text: string) {
  const input = await mkdtemp(join(tmpdir(), 'larr-coupon-'));
  await writeFile(join(input, 'in-vehicle-coupon-recommendation.csv'), text);
  const output = join(input, 'out');
  return { output, result: await importCoupon({ input, output, seed: 1 }).catch((error) => error) };
}

test.each([false, true])('no feature holds an id, and moments are words (column "car": %s)', async (car) => {
  const { output, result } = await attempt(published(car));
  expect(result).toMatchObject({ name: 'coupon', orders: false, users: 9, pois: 8 });
  const dataset = await openDataset(output);
  const names = dataset.split.categorical.map((f) => f.name);
  expect(names).not.toContain('user');
  expect(names).not.toContain('poi');
  // No feature may tell profiles apart by number: none has as many values as there are rows of a table of ids.
  expect(await dataset.vocabulary('occupation')).toEqual(['', 'Sales, Related']);
  const scene = Object.fromEntries(dataset.split.scene.map((f) => [f.field, f.texts]));
  expect(scene.temperature).toEqual(['', 'very cold', 'warm']);
  expect(scene.time).toEqual(['', 'at 2 in the afternoon']);
  expect(scene.goes_to_Restaurant20To50).toEqual(['']);
  expect((await dataset.poiTexts())[0]!.map((k) => k.text)).toEqual(['a bar', 'good for two hours']);
});

test('rows that are not as published are refused with file, line and column', async () => {
  const text = published(false);
  expect((await attempt(text.replace('weather,', 'wether,'))).result).toMatchObject({ code: 'BAD_HEADER', row: 1 });
  expect((await attempt(text.replace('Sunny,80', 'Sunny,warm'))).result).toMatchObject({
    code: 'BAD_VALUE',
    row: 3,
    message: expect.stringMatching(/line 3, column 4 \(temperature\): "warm"/),
  });
  expect((await attempt(text.replace(',0\n', '\n'))).result).toMatchObject({ code: 'SHORT_ROW', row: 2, field: 'Y' });
  expect((await attempt(text.replace(',0\n', ',2\n'))).result).toMatchObject({ code: 'BAD_VALUE', field: 'Y' });
});

const real = fileURLToPath(new URL('../../../../../shared/data/coupon', import.meta.url));
if (!existsSync(real)) console.log(`skipped: the published coupon file is not at ${real}`);
test.skipIf(!existsSync(real))('the published file gives 12,079 rows', async () => {
  const output = join(await mkdtemp(join(tmpdir(), 'larr-coupon-')), 'out');
  const manifest = await importCoupon({ input: real, output, seed: 1 });
  const { train, validation, test: hidden } = manifest.splits.random!.parts;
  expect(train.rows + validation.rows + hidden.rows).toBe(12_079);
  expect(train.clicks + validation.clicks + hidden.clicks).toBe(6877);
  expect(manifest.pois).toBe(10);
});
