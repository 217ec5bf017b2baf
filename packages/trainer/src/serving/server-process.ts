import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { LarrError } from '@larr/core';

/**
 * The server's program. It is a process of its own: LibTorch, which this one may have loaded, has no place in it.
 * @throws LarrError `SERVER_NOT_INSTALLED`
 */
export function serverProgram(): string {
  let program: string;
  try {
    const server = createRequire(import.meta.url).resolve('@larr/server/package.json');
    program = join(dirname(server), 'bin', 'larr-server.mjs');
  } catch (cause) {
    throw new LarrError('SERVER_NOT_INSTALLED', 'the package @larr/server is not installed beside this one', { cause });
  }
  if (!existsSync(program)) throw new LarrError('SERVER_NOT_INSTALLED', `the server's program ${program} is missing`);
  return program;
}

/** What `POST /v1/rank` takes, as far as it is asked for here. */
export interface RankQuestion {
  user: string;
  scene: Record<string, string | number>;
  candidates: string[];
  k: number;
  by?: 'pCtr' | 'pCtcvr';
}

/** A server on this machine that answers nobody else's questions, until it is closed or this process ends. */
export class PrivateServer implements AsyncDisposable {
  readonly #agent = new Agent({ keepAlive: true });

  private constructor(
    private readonly child: ChildProcess,
    private readonly port: number,
    /** name and digest of the bundle that it serves */
    readonly model: { name: string; bundle: string },
  ) {}

  /** @throws LarrError with the code and message that the server ended with: BUNDLE_…, SELF_TEST_FAILED */
  static async start(bundle: string, threads: number): Promise<PrivateServer> {
    const child = spawn(
      process.execPath,
      [
        serverProgram(),
        ...['--bundle', bundle, '--port', '0', '--threads', String(threads), '--no-console'],
        ...['--log-level', 'warn', '--json'],
      ],
      { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], env: { ...process.env, LARR_THREADS: String(threads) } },
    );
    let said = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-2000);
    });
    return new Promise((resolve, reject) => {
      let text = '';
      child.on('error', reject);
      child.on('exit', (code) =>
        reject(new LarrError('SERVER_FAILED', `the server for ${bundle} ended (${code}): ${said}`)),
      );
      child.stdout!.setEncoding('utf8').on('data', (part: string) => {
        text += part;
        if (!text.includes('\n')) return;
        const first = JSON.parse(text.slice(0, text.indexOf('\n')));
        if (first.error !== undefined) reject(new LarrError(first.error.code, `${bundle}: ${first.error.message}`));
        else resolve(new PrivateServer(child, first.port, first.model));
      });
    });
  }

  /** POIs of a ranking, best first. @throws LarrError with the code and message of a refusal */
  async rank(question: RankQuestion): Promise<string[]> {
    const body = JSON.stringify(question);
    const answer = await new Promise<string>((resolve, reject) => {
      const asked = request(
        {
          ...{ host: '127.0.0.1', port: this.port, path: '/v1/rank', method: 'POST', agent: this.#agent },
          headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
        },
        (reply) => {
          const parts: Buffer[] = [];
          reply.on('data', (part: Buffer) => parts.push(part));
          reply.on('end', () => resolve(Buffer.concat(parts).toString('utf8')));
          reply.on('error', reject);
        },
      );
      asked.on('error', reject);
      asked.end(body);
    });
    const { ranked, error } = JSON.parse(answer) as {
      ranked?: { poi: string }[];
      error?: { code: string; message: string };
    };
    if (ranked === undefined) throw new LarrError(error!.code, error!.message);
    return ranked.map(({ poi }) => poi);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGTERM');
    await ended;
  }
}
