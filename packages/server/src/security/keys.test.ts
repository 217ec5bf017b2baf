import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runKeysCommand } from './key-commands.js';
import { digestOfKey, makeKey, readKeys } from './key-file.js';
import { KeyRing } from './key-ring.js';

const root = mkdtempSync(join(tmpdir(), 'larr-keys-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const add = async (file: string, ...more: string[]): Promise<string> =>
  (await runKeysCommand(['add', '--keys', file, '--name', 'shop', '--scopes', 'rank,events', ...more])).stdout.trim();

/** Waits until `what` holds; fails after five seconds. */
async function until(what: () => boolean): Promise<void> {
  for (let i = 0; !what(); i++) {
    if (i > 100) throw new Error('it did not come about');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe('a key', () => {
  it('has 256 random bits and an id to find it by, and is never the same twice', () => {
    const made = Array.from({ length: 200 }, () => makeKey({ name: 'n', scopes: ['rank'], expires: null, rate: null }));
    expect(new Set(made.map(({ key }) => key)).size).toBe(200);
    for (const { key, stored } of made) {
      const [, id, secret] = /^larr_([a-z0-9]{10})_(.+)$/.exec(key)!;
      expect(id).toBe(stored.id);
      expect(Buffer.from(secret!, 'base64url')).toHaveLength(32);
    }
    // a letter of base64url that never comes would mean fewer bits
    expect(new Set(made.map(({ key }) => key.slice(16)).join('')).size).toBe(64);
  });

  it('is kept as its digest alone, in a file that only its owner may read', async () => {
    const file = join(root, 'kept.json');
    const key = await add(file);
    const text = readFileSync(file, 'utf8');
    expect(text).not.toContain(key);
    expect(text).not.toContain(key.slice(16));
    expect(text).toContain(digestOfKey(key).toString('hex'));
    expect(statSync(file).mode & 0o777).toBe(0o600);
    chmodSync(file, 0o640);
    await add(file);
    expect(statSync(file).mode & 0o777).toBe(0o640);
    expect(existsSync(`${file}.lock`)).toBe(false);
  });

  it('is good until it expires or is revoked, and one wrong letter is a wrong key', async () => {
    const file = join(root, 'good.json');
    const now = new Date('2026-05-01T00:00:00Z');
    const { stdout } = await runKeysCommand(
      ['add', '--keys', file, '--name', 'x', '--scopes', 'read', '--expires', '30d', '--rate', '7'],
      now,
    );
    const key = stdout.trim();
    const ring = new KeyRing(await readKeys(file));
    const at = (day: string): number => Date.parse(`2026-05-${day}T00:00:00Z`);
    expect(ring.check(key, at('30'))).toMatchObject({ grant: { name: 'x', rate: 7, scopes: new Set(['read']) } });
    expect(ring.check(key, at('31'))).toEqual({ refused: 'expired' });
    const last = key.at(-1) === 'A' ? 'B' : 'A';
    for (const wrong of [
      key.slice(0, -1) + last,
      key.slice(0, -1),
      '',
      'larr_',
      key.toUpperCase(),
      `${key} `,
      makeKey({ name: 'y', scopes: ['read'], expires: null, rate: null }).key,
    ])
      expect(ring.check(wrong, at('02'))).toEqual({ refused: 'unknown' });
  });
});

describe('the key file', () => {
  it('is read again when it changes, also behind a link, and what was good stays good while it is broken', async () => {
    const file = join(root, 'changing.json');
    const first = await add(file);
    const link = join(root, 'link.json');
    symlinkSync(file, link);
    const heard: [number, string | null][] = [];
    const ring = await KeyRing.open(
      link,
      (keys, error) => heard.push([keys, error === null ? null : (error as Error & { code: string }).code]),
      20,
    );
    try {
      const second = await add(file);
      await until(() => 'grant' in ring.check(second));
      expect('grant' in ring.check(first)).toBe(true);
      // at once: a file written in place may be seen twice, empty and then half-written
      writeFileSync(`${file}.new`, '{"format":', { mode: 0o600 });
      renameSync(`${file}.new`, file);
      await until(() => heard.at(-1)?.[1] === 'KEYS_INVALID');
      expect('grant' in ring.check(second)).toBe(true);
      rmSync(file);
      await add(file);
      await until(() => ring.size === 1);
      expect(ring.check(second)).toEqual({ refused: 'unknown' });
      expect(heard).toEqual([
        [2, null],
        [2, 'KEYS_INVALID'],
        [1, null],
      ]);
    } finally {
      ring.close();
    }
  });

  it('is refused where others may write it, where it is not there, and where it says nonsense, with what to do', async () => {
    const file = join(root, 'bad.json');
    await expect(readKeys(file)).rejects.toMatchObject({
      code: 'KEYS_MISSING',
      message: expect.stringMatching(/larr-server keys add/),
    });
    await add(file);
    chmodSync(file, 0o606);
    await expect(readKeys(file)).rejects.toMatchObject({
      code: 'KEYS_WRITABLE',
      message: expect.stringMatching(/chmod go-w/),
    });
    chmodSync(file, 0o600);
    const good = JSON.parse(readFileSync(file, 'utf8'));
    const broken: [object, RegExp][] = [
      [{ ...good, version: 2 }, /version/],
      [{ ...good, keys: [{ ...good.keys[0], scopes: ['everything'] }] }, /keys\.0\.scopes\.0/],
      [{ ...good, keys: [{ ...good.keys[0], sha256: 'abc' }] }, /keys\.0\.sha256/],
      [{ ...good, keys: [{ ...good.keys[0], expires: 'soon' }] }, /keys\.0\.expires/],
      [{ ...good, keys: [good.keys[0], good.keys[0]] }, /stands there twice/],
    ];
    for (const [value, message] of broken) {
      writeFileSync(file, JSON.stringify(value));
      await expect(readKeys(file)).rejects.toMatchObject({
        code: 'KEYS_INVALID',
        message: expect.stringMatching(message),
      });
    }
  });

  it('loses no change to another command that changes it at the same time', async () => {
    const file = join(root, 'locked.json');
    const added = await Promise.allSettled(Array.from({ length: 6 }, () => add(file)));
    const refused = added.filter((one) => one.status === 'rejected');
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'IN_USE' });
    expect(refused.length).toBeGreaterThan(0);
    expect(await readKeys(file)).toHaveLength(6 - refused.length);
  });
});

describe('larr-server keys', () => {
  it('lists what is there, without digests, and revokes by id', async () => {
    const file = join(root, 'list.json');
    const key = await add(file);
    const id = key.slice(5, 15);
    const { stderr } = await runKeysCommand(['list', '--keys', file]);
    expect(stderr).toMatch(
      new RegExp(`^ID +NAME +SCOPES.*\n${id} +shop +rank,events +\\d{4}-\\d\\d-\\d\\d +never +-\n$`),
    );
    const { stdout } = await runKeysCommand(['list', '--keys', file, '--json']);
    expect(JSON.parse(stdout).keys).toEqual([expect.objectContaining({ id, name: 'shop', expired: false })]);
    expect(stdout).not.toMatch(/sha256/);
    await expect(runKeysCommand(['revoke', '--keys', file, `${id.slice(0, -1)}!`])).rejects.toMatchObject({
      code: 'KEY_NOT_THERE',
      message: expect.stringContaining(`Did you mean "${id}"`),
    });
    await runKeysCommand(['revoke', '--keys', file, id]);
    expect(await readKeys(file)).toEqual([]);
  });

  const wrong: [string, string[], string, RegExp][] = [
    ['no action', [], 'ACTION_MISSING', /add, list or revoke/],
    ['an unknown action', ['ad'], 'ACTION_UNKNOWN', /Did you mean "add"/],
    ['no file', ['list'], 'OPTION_MISSING', /--keys FILE/],
    ['no name', ['add', '--keys', 'f', '--scopes', 'rank'], 'OPTION_MISSING', /--name/],
    [
      'an unknown scope',
      ['add', '--keys', 'f', '--name', 'n', '--scopes', 'rank,event'],
      'OPTION_INVALID',
      /Did you mean "events"/,
    ],
    [
      'a past expiry',
      ['add', '--keys', 'f', '--name', 'n', '--scopes', 'rank', '--expires', '2020-01-01'],
      'OPTION_INVALID',
      /passed/,
    ],
    [
      'an expiry that is none',
      ['add', '--keys', 'f', '--name', 'n', '--scopes', 'rank', '--expires', 'soon'],
      'OPTION_INVALID',
      /90d/,
    ],
    [
      'a rate of 0',
      ['add', '--keys', 'f', '--name', 'n', '--scopes', 'rank', '--rate', '0'],
      'OPTION_INVALID',
      /above 0/,
    ],
    ['an unknown option', ['add', '--key', 'f'], 'OPTION_UNKNOWN', /--key/],
    ['a word too many', ['add', 'x', '--keys', 'f'], 'OPTION_UNKNOWN', /one word too many/],
  ];
  it.each(wrong)('refuses %s', async (_what, args, code, message) => {
    await expect(runKeysCommand(args)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect(existsSync('f')).toBe(false);
  });
});
