import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A redis-server of this test alone, which it may kill and start again on the same port. */
export interface TestRedis {
  url: string;
  port: number;
  kill(): Promise<void>;
  start(): Promise<void>;
  /** Kills it and removes what it wrote. */
  remove(): Promise<void>;
}

/** Whether redis-server is installed. CI installs it (.ci/run), so there its lack is a failure and not a reason to skip. */
export const redisInstalled: boolean = (() => {
  try {
    execFileSync('redis-server', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    if (process.env.CI !== undefined) throw new Error('redis-server is missing: apt-get install redis-server');
    process.stderr.write(
      'redis-server is not installed, so the tests with it are skipped: apt-get install redis-server\n',
    );
    return false;
  }
})();

/** @param options further options of redis-server, as in `['--cluster-enabled', 'yes']` */
export async function startRedis(options: string[] = []): Promise<TestRedis> {
  const directory = mkdtempSync(join(tmpdir(), 'larr-redis-'));
  const port = await freePort();
  let process_: ChildProcess | null = null;
  const redis: TestRedis = {
    port,
    url: `redis://127.0.0.1:${port}`,
    async start() {
      const args = [
        '--port',
        String(port),
        '--bind',
        '127.0.0.1',
        '--dir',
        directory,
        '--save',
        '',
        '--appendonly',
        'yes',
      ];
      const started = spawn('redis-server', [...args, ...options], { stdio: ['ignore', 'pipe', 'ignore'] });
      process_ = started;
      await new Promise<void>((resolve, reject) => {
        let said = '';
        started.stdout!.on('data', (data) => {
          said += data;
          if (said.includes('Ready to accept connections')) resolve();
        });
        started.once('exit', () => reject(new Error(`redis-server did not start: ${said}`)));
      });
    },
    async kill() {
      if (process_ === null || process_.exitCode !== null || process_.signalCode !== null) return;
      const exited = once(process_, 'exit');
      process_.kill('SIGKILL');
      await exited;
    },
    async remove() {
      await redis.kill();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  await redis.start();
  return redis;
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  // a cluster's servers also listen on the port 10,000 above their own
  return port > 55_000 ? freePort() : port;
}
