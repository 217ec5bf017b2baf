// The console in a browser, over a server with a small real bundle: what people see, by pointer and by keyboard alone, in both themes.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type BundleFile, type BundleManifest, DuckdbSession, writeBundle } from '@larr/core';
import { createServer, type RankReply, type RunningServer } from '@larr/server';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exportTinyBundle } from '../serving/tiny-bundle.js';
import { prepareTinyDataset } from '../serving/tiny-dataset.js';

const require = createRequire(import.meta.url);
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

let directory: string;
let server: RunningServer;
let browser: Browser;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-console-'));
  await prepareTinyDataset(directory, { history: false });
  const bundles = join(directory, 'bundles');
  mkdirSync(bundles);
  for (const model of ['larr', 'ple']) {
    const { bundle } = await exportTinyBundle(directory, model);
    await withTexts(bundle, join(bundles, model));
  }
  for (const name of ['events', 'experiments']) mkdirSync(join(directory, name));
  server = await createServer({
    bundle: join(bundles, 'larr'),
    bundles,
    runs: directory,
    events: join(directory, 'events'),
    experiments: join(directory, 'experiments'),
    front: { log: { level: 'error' } },
    port: 0,
  });
  await server.ready;
  browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
}, 240_000);
afterAll(async () => {
  await browser?.close();
  await server?.close();
  rmSync(directory, { recursive: true, force: true });
});

/** The bundle with a name for every POI. */
async function withTexts(from: string, to: string): Promise<void> {
  const { files, ...manifest } = JSON.parse(readFileSync(join(from, 'manifest.json'), 'utf8')) as BundleManifest;
  const texts = join(directory, 'poi-texts.parquet');
  using duckdb = await DuckdbSession.open();
  const pois = join(from, 'store', 'pois.parquet');
  await duckdb.run(
    `COPY (SELECT poi, 'Place ' || substr(poi::VARCHAR, 2) AS name FROM read_parquet('${pois}')) TO '${texts}' (FORMAT parquet)`,
  );
  const copied = Object.keys(files).map((file): [string, BundleFile] => [file, { from: join(from, file) }]);
  await writeBundle(to, { ...Object.fromEntries(copied), 'store/poi-texts.parquet': { from: texts } }, manifest);
}

interface Look {
  theme?: 'light' | 'dark';
  width?: number;
  url?: string;
  /** messages of the console that belong to what is tested */
  expected?: RegExp;
}

/** Opens a page of the console, and sees to it that nothing goes wrong in it or leaves the server. */
async function look(
  path: string,
  work: (page: Page) => Promise<void>,
  { theme = 'light', width = 1280, url = server.url, expected }: Look = {},
) {
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    colorScheme: theme,
    reducedMotion: 'no-preference',
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const troubles: string[] = [];
  page.on('pageerror', (error) => troubles.push(`error: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() !== 'error' && message.type() !== 'warning') return;
    if (expected?.test(message.text()) !== true) troubles.push(`${message.type()}: ${message.text()}`);
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(`${url}/`)) troubles.push(`request: ${request.url()}`);
  });
  try {
    await page.goto(`${url}/console/${path}`);
    await work(page);
    expect(troubles).toEqual([]);
  } finally {
    await context.close();
  }
}

/** Waits for what a page comes to show. */
const until = (read: () => unknown, timeout = 20_000) => expect.poll(read, { timeout });

const POIS = Array.from({ length: 20 }, (_, i) => `p${i}`);
const scene = { time: '2026-01-05T12:00:00', weather: 'sunny', temperature: '20' };
const address = (more: Record<string, string> = {}): string =>
  `?${new URLSearchParams({
    user: 'u1',
    ...Object.fromEntries(Object.entries(scene).map(([name, value]) => [`scene.${name}`, value])),
    pois: POIS.join(','),
    place: 'fields',
    shown: '20',
    ...more,
  })}`;

/** The order that the server gives. */
async function ranked(changed: Partial<typeof scene>, bundle = 'current'): Promise<string[]> {
  const reply = await fetch(`${server.url}/v1/rank`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user: 'u1', scene: { ...scene, temperature: 20, ...changed }, candidates: POIS, bundle }),
  });
  return ((await reply.json()) as RankReply).ranked.map(({ poi }) => poi);
}

const order = (page: Page): Promise<string[]> =>
  page.locator('.ranking .poi').evaluateAll((rows) => rows.map((row) => (row as HTMLElement).dataset.id!));

describe('the scene explorer', () => {
  it('shows the ranking of a shared address, and reorders it when the scene changes', async () => {
    const [before, after] = [await ranked({}), await ranked({ weather: 'heavy rain' })];
    expect(after).not.toEqual(before);
    await look(address(), async (page) => {
      await until(() => order(page)).toEqual(before);
      expect(await page.locator('.keyword', { hasText: 'Weather' }).textContent()).toContain('sunny');
      await page.getByRole('radio', { name: 'heavy rain' }).check();
      await until(() => order(page)).toEqual(after);
      // Rows glide to their places rather than jump.
      expect(await page.evaluate(() => document.getAnimations().length)).toBeGreaterThan(0);
      const best = after.findIndex((id, i) => before.indexOf(id) > i);
      const row = page.locator('.poi').nth(best);
      expect(await row.locator('.move').textContent()).toContain(`up ${before.indexOf(after[best]!) - best}`);
      await until(() => new URL(page.url()).searchParams.get('scene.weather')).toBe('heavy rain');
      await page.reload();
      await until(() => order(page)).toEqual(after);
    });
  });

  it('shows of each POI its name, its chances, and where the attention went', async () => {
    await look(address(), async (page) => {
      const row = page.locator('.poi').first();
      const [id] = await ranked({});
      await page.getByRole('button', { name: `Place ${id!.slice(1)}`, exact: true }).click();
      expect(await row.locator('.chance-number').allTextContents()).toEqual([
        expect.stringMatching(/ %$/),
        expect.stringMatching(/ %$/),
      ]);
      const shares = await row.locator('.shares li').allTextContents();
      expect(shares.length).toBeGreaterThanOrEqual(3);
      const total = shares.reduce((sum, text) => sum + Number(/([\d.]+) %/.exec(text)?.[1]), 0);
      expect(total).toBeGreaterThan(5);
      expect(total).toBeLessThanOrEqual(100.5);
      expect(await row.locator('.facts').textContent()).toContain('Cuisine');
    });
  });

  it('picks a user by search, and says it of one that nobody knows', async () => {
    await look(address(), async (page) => {
      await page.getByRole('combobox', { name: 'Find a user' }).fill('u7');
      await page.getByRole('option').filter({ hasText: /^u7\D/ }).click();
      await until(() => page.locator('.user').textContent()).toMatch(/^u7[A-Z]/);
      await page.getByRole('combobox', { name: 'Find a user' }).fill('stranger');
      await page.getByRole('option', { name: /stranger/ }).click();
      await until(() => page.locator('.user').textContent()).toContain('new: ranked without a history');
    });
  });

  it('compares two scenes: who stands elsewhere, and by how much', async () => {
    const [a, b] = [await ranked({}), await ranked({ weather: 'heavy rain', time: '2026-01-05T23:00:00' })];
    await look(
      address({ compare: 'scene', 'b.weather': 'heavy rain', 'b.time': '2026-01-05T23:00:00' }),
      async (page) => {
        const list = (side: string) =>
          page
            .locator(`.side-${side} .compact li`)
            .evaluateAll((rows) => rows.map((row) => (row as HTMLElement).dataset.id!));
        await until(() => list('a')).toEqual(a);
        await until(() => list('b')).toEqual(b);
        const moved = b.filter((id, i) => a[i] !== id).length;
        expect(await page.locator('.comparison-sum').textContent()).toMatch(
          new RegExp(`^${moved} of the first 20 stand elsewhere`),
        );
        const at = b.findIndex((id, i) => a.indexOf(id) !== i);
        const up = a.indexOf(b[at]!) - at;
        expect(await page.locator('.side-b .compact li').nth(at).locator('.move').textContent()).toContain(
          `${up > 0 ? 'up' : 'down'} ${Math.abs(up)}`,
        );
        // B alone changes while B is looked at.
        await page.getByRole('radio', { name: 'B', exact: true }).check();
        await page.getByRole('radio', { name: 'cloudy' }).check();
        const c = await ranked({ weather: 'cloudy', time: '2026-01-05T23:00:00' });
        await until(() => list('b')).toEqual(c);
        expect(await list('a')).toEqual(a);
      },
    );
  });

  it('compares two bundles', async () => {
    await look(address({ compare: 'bundle' }), async (page) => {
      await page.getByRole('heading', { name: 'Only one bundle is loaded' }).waitFor();
    });
    const loaded = await fetch(`${server.url}/v1/admin/reload`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ bundle: 'ple', alias: 'plain' }),
    });
    expect(loaded.status).toBe(200);
    await look(address({ compare: 'bundle' }), async (page) => {
      const list = () =>
        page.locator('.side-b .compact li').evaluateAll((rows) => rows.map((row) => (row as HTMLElement).dataset.id!));
      await until(list).toEqual(await ranked({}, 'plain'));
      expect(await page.locator('.side-b .column-head').textContent()).toContain('plain');
    });
  });

  it('is used by keyboard alone', async () => {
    await look(address(), async (page) => {
      await page.locator('.poi').first().waitFor();
      const focused = () =>
        page.evaluate(() => {
          const { activeElement: node } = document;
          return node === null
            ? ''
            : (node.getAttribute('aria-label') ??
                (node as HTMLInputElement).labels?.[0]?.textContent ??
                node.textContent ??
                '');
        });
      const tabTo = async (name: RegExp): Promise<void> => {
        for (let i = 0; i < 60; i++) {
          await page.keyboard.press('Tab');
          if (name.test(await focused())) return;
        }
        throw new Error(`no ${name} is reached by Tab`);
      };
      await page.keyboard.press('Tab');
      expect(await focused()).toBe('Skip to the page');
      await tabTo(/^Find a user$/);
      await page.keyboard.type('u9');
      await page.getByRole('option').first().waitFor();
      await page.keyboard.press('ArrowDown');
      await page.keyboard.press('ArrowUp');
      await page.keyboard.press('Enter');
      await until(() => page.locator('.user-id').textContent()).toBe('u9');
      await tabTo(/^Time of day$/);
      for (let i = 0; i < 4; i++) await page.keyboard.press('ArrowRight');
      await until(() => page.locator('.time-shown').textContent()).toBe('Monday, 13:00');
      await tabTo(/^sunny$/);
      await page.keyboard.press('ArrowDown');
      await until(() => new URL(page.url()).searchParams.get('scene.weather')).not.toBe('sunny');
      await tabTo(/^Place \d+$/);
      await page.keyboard.press('Enter');
      await page.locator('.poi-details .shares').waitFor();
      expect(await page.locator(':focus').getAttribute('aria-expanded')).toBe('true');
    });
  });
});

describe('experiments', () => {
  it('are started, given more traffic, paused and stopped, and report what happened', async () => {
    const call = async (method: string, path: string, body?: object) => {
      const reply = await fetch(`${server.url}${path}`, {
        method,
        ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      });
      expect([path, reply.status]).toEqual([path, 200]);
    };
    await call('PUT', '/v1/experiments/by-clicks', {
      description: 'rank by clicks',
      arms: [{ name: 'control' }, { name: 'clicks', parameters: { by: 'pCtr' } }],
    });
    await look(
      'experiments',
      async (page) => {
        await page.getByRole('link', { name: 'by-clicks' }).click();
        await page.getByRole('button', { name: 'Start' }).click();
        await page.getByText('Nothing to report yet').waitFor();
        const now = new Date().toISOString();
        const events = await Promise.all(
          Array.from({ length: 60 }, async (_, i) => {
            await call('POST', '/v1/rank', { user: `u${i}`, candidates: POIS.slice(0, 3) });
            return { type: 'impression', user: `u${i}`, poi: 'p1', time: now };
          }),
        );
        const clicks = events.filter((_, i) => i % 3 === 0).map((event) => ({ ...event, type: 'click' }));
        await call('POST', '/v1/events', {
          events: [...events, ...clicks].map((event, i) => ({ ...event, id: `e${i}` })),
        });
        // A report is made anew after five seconds.
        await until(async () => {
          await page.reload();
          await page.waitForTimeout(1000);
          const [first] = await page.locator('tbody tr:first-child td').allTextContents();
          return Number(first ?? 0);
        }, 30_000).toBeGreaterThan(10);
        expect(await page.locator('.forest-row').count()).toBe(1);
        await page.getByRole('group', { name: /^CTR lift of clicks/ }).waitFor();

        await page.getByRole('slider', { name: 'Share of the layer’s users' }).fill('0.5');
        await page.getByRole('button', { name: 'Set', exact: true }).click();
        // Less traffic would move users; the server says so, and the page shows it.
        const answered = page.locator('.ramp .controls-failure, .history li:has-text("traffic")').first();
        await answered.waitFor();
        await page.getByRole('button', { name: 'Pause' }).click();
        await page.locator('h1 .badge', { hasText: 'paused' }).waitFor();
        await page.getByRole('button', { name: 'Stop…' }).click();
        await page.getByRole('button', { name: 'Keep it' }).click();
        expect(await page.locator('h1 .badge').textContent()).toBe('paused');
        await page.getByRole('button', { name: 'Stop…' }).click();
        await page.getByRole('button', { name: 'Stop it' }).click();
        await page.locator('h1 .badge', { hasText: 'stopped' }).waitFor();
      },
      { expected: /status of 409|status of 400/ },
    );
  }, 90_000);
});

describe('runs', () => {
  it('are listed, with curves and a report that can do nothing', async () => {
    await look('runs', async (page) => {
      await page.getByRole('link', { name: 'run-larr', exact: true }).click();
      const loss = page.getByRole('group', { name: /^Loss\./ });
      await loss.focus();
      await page.keyboard.press('End');
      await page.keyboard.press('ArrowLeft');
      await until(() => page.locator('.chart', { hasText: 'Loss' }).first().getByRole('status').textContent()).toMatch(
        /^step .*\d/,
      );
      await page.getByRole('button', { name: 'Table of Loss', exact: true }).click();
      expect(await page.locator('.chart-table tbody tr').count()).toBeGreaterThan(1);
      const frame = page.frameLocator('iframe[title="Report of the run"]');
      await frame.getByRole('heading').first().waitFor();
      expect(await page.locator('iframe').getAttribute('sandbox')).toBe('allow-scripts');
      const height = () => page.locator('iframe').evaluate((node) => (node as HTMLElement).offsetHeight);
      await until(height).not.toBe(720);
    });
  });
});

describe('health', () => {
  it('shows what the server does now', async () => {
    await look('health', async (page) => {
      await ranked({});
      await page.getByRole('group', { name: /^Latency of a ranking/ }).waitFor();
      expect(await page.locator('.stages li').allTextContents()).toHaveLength(5);
      const requests = () => page.locator('.tile').first().locator('.quiet').textContent();
      const before = await requests();
      await ranked({});
      await until(requests).not.toBe(before);
    });
  });
});

describe('a server with keys', () => {
  it('is asked for one once, and keeps it from the next tab', async () => {
    const file = join(directory, 'keys.json');
    const program = join(dirname(require.resolve('@larr/server/package.json')), 'bin', 'larr-server.mjs');
    const key = execFileSync(
      process.execPath,
      [program, 'keys', 'add', '--keys', file, '--name', 'console', '--scopes', 'rank,read'],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    ).trim();
    const guarded = await createServer({ bundle: join(directory, 'bundles', 'larr'), front: { keys: file }, port: 0 });
    try {
      await guarded.ready;
      await look(
        address(),
        async (page) => {
          const field = page.getByLabel('API key');
          await field.fill('wrong');
          await page.getByRole('button', { name: 'Use this key' }).click();
          await page.getByText('The server does not know this key').waitFor();
          await field.fill(key);
          await page.keyboard.press('Enter');
          await page.locator('.poi').first().waitFor();
          expect(
            await page.evaluate(() => [sessionStorage.length, Object.keys(localStorage), document.cookie]),
          ).toEqual([1, [], '']);
          expect(page.url()).not.toContain(key);
        },
        { url: guarded.url, expected: /status of 401/ },
      );
    } finally {
      await guarded.close();
    }
  });
});

/** What axe-core finds wrong, each with where. The frame of a report has no origin, so that nothing reaches into it. */
async function faults(page: Page): Promise<string[]> {
  return page.evaluate(async () => {
    interface Found {
      violations: { id: string; nodes: { html: string; failureSummary: string }[] }[];
    }
    const { axe } = window as unknown as { axe: { run: (root: Document, options: object) => Promise<Found> } };
    const runOnly = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    const { violations } = await axe.run(document, { runOnly, iframes: false });
    return violations.map(
      ({ id, nodes }) =>
        `${id}: ${nodes
          .slice(0, 3)
          .map(({ html, failureSummary }) => `${html.slice(0, 160)} ${failureSummary}`)
          .join(' | ')}`,
    );
  });
}

describe('every page', () => {
  const pages = {
    explorer: '',
    comparison: 'compare',
    experiments: 'experiments',
    experiment: 'experiments/by-clicks',
    runs: 'runs',
    run: 'runs/run-larr',
    health: 'health',
    nowhere: 'nowhere',
  };

  it.each(Object.entries(pages))(
    '%s: nothing that axe finds fault with in either theme, and it fits a phone',
    async (_name, path) => {
      const to =
        path === '' ? address() : path === 'compare' ? address({ compare: 'scene', 'b.weather': 'cloudy' }) : path;
      await look(to, async (page) => {
        await page.locator('h1').waitFor();
        await until(() => page.locator('.bones').count()).toBe(0);
        if (path === '') await page.locator('.poi-name button').first().click();
        await page.evaluate(axe);
        for (const colorScheme of ['light', 'dark'] as const) {
          await page.emulateMedia({ colorScheme });
          // What fades in or moves has its full contrast at its end.
          await until(() =>
            page.evaluate(
              () =>
                document
                  .getAnimations()
                  .filter((one) => one.effect?.getComputedTiming().endTime !== Number.POSITIVE_INFINITY).length,
            ),
          ).toBe(0);
          expect([colorScheme, ...(await faults(page))]).toEqual([colorScheme]);
        }
        await page.setViewportSize({ width: 360, height: 740 });
        await until(() =>
          page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth),
        ).toBeLessThanOrEqual(0);
      });
    },
  );

  it('a table wider than a phone shows that there is more, and the keyboard reaches it', async () => {
    await look(
      'runs',
      async (page) => {
        const table = page.locator('.scroller');
        await until(() => table.getAttribute('class')).toContain('fades');
        const { x, width } = (await table.boundingBox())!;
        expect([x >= 0, x + width <= 360]).toEqual([true, true]);
        expect(await table.getAttribute('aria-label')).toContain('Runs');
        await table.focus();
        await table.evaluate((node) => node.scrollTo({ left: node.scrollWidth }));
        await until(() => table.getAttribute('class')).not.toContain('fades');
      },
      { width: 360 },
    );
    await look('runs', async (page) => {
      await page.locator('.scroller table').waitFor();
      expect(await page.locator('.scroller').getAttribute('tabindex')).toBeNull();
    });
  });

  it('follows the system’s theme until another is chosen, and remembers that', async () => {
    await look(
      '',
      async (page) => {
        const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const dark = await ground();
        await page.getByRole('button', { name: /^Theme: as the system/ }).click();
        const light = await ground();
        expect(light).not.toBe(dark);
        await page.reload();
        expect(await ground()).toBe(light);
      },
      { theme: 'dark' },
    );
  });

  it('leads on by links without a page load, and back', async () => {
    await look('', async (page) => {
      await page.evaluate(() => Object.assign(window, { same: true }));
      await page.getByRole('link', { name: 'Runs' }).click();
      await page.getByRole('heading', { name: 'Runs', level: 1 }).waitFor();
      expect(await page.title()).toBe('Runs · LARR');
      expect(await page.evaluate(() => [document.activeElement?.id, 'same' in window])).toEqual(['main', true]);
      await page.goBack();
      await page.getByRole('heading', { name: 'Scene explorer' }).waitFor();
    });
  });
});
