import { createServer, type Server, type Socket } from 'node:net';

/** A message as it arrived, decoded from the wire. */
export interface Received {
  topic: string;
  key: string;
  value: string;
  headers: Record<string, string>;
}

/**
 * As much of a Kafka broker as a producer of one topic talks to (kafka.apache.org/protocol: ApiVersions v0–2, Metadata v1, Produce v3 with record batches v2): it keeps
 * what it is sent in memory. It can refuse a produce, or take one and never say so, as a broker that dies half-way does.
 */
export class StubBroker {
  readonly received: Received[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** what happens to the next produces, first in first out; afterwards all succeed */
  readonly next: ('refuse' | 'take and hang up')[] = [];
  acks: number | null = null;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(topic: string): Promise<StubBroker> {
    const server = createServer();
    const broker = new StubBroker(server);
    server.on('connection', (socket) => broker.#serve(socket, topic));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return broker;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(socket: Socket, topic: string): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
    let pending = Buffer.alloc(0);
    socket.on('data', (data) => {
      pending = Buffer.concat([pending, data]);
      while (pending.length >= 4 && pending.length >= 4 + pending.readInt32BE(0)) {
        const size = pending.readInt32BE(0);
        const request = new Reader(pending.subarray(4, 4 + size));
        pending = pending.subarray(4 + size);
        const [api, version, correlation] = [request.int16(), request.int16(), request.int32()];
        request.text();
        const body = this.#answer(api, version, request, topic);
        if (body === null) return socket.destroy();
        const head = Buffer.alloc(8);
        head.writeInt32BE(4 + body.length, 0);
        head.writeInt32BE(correlation, 4);
        socket.write(Buffer.concat([head, body]));
      }
    });
  }

  #answer(api: number, version: number, request: Reader, topic: string): Buffer | null {
    const out = new Writer();
    if (api === 18) {
      out.int16(0).int32(3);
      for (const [key, from, to] of [
        [0, 3, 3],
        [3, 1, 1],
        [18, 0, 2],
      ] as const)
        out.int16(key).int16(from).int16(to);
      return (version > 0 ? out.int32(0) : out).bytes();
    }
    if (api === 3) {
      out.int32(1).int32(7).text('127.0.0.1').int32(this.port).int16(-1).int32(7);
      out.int32(1).int16(0).text(topic).int8(0);
      return out.int32(1).int16(0).int32(0).int32(7).int32(1).int32(7).int32(1).int32(7).bytes();
    }
    if (api !== 0) throw new Error(`the stub knows nothing of request ${api}`);
    const fate = this.next.shift();
    request.text();
    this.acks = request.int16();
    request.int32();
    request.int32();
    const name = request.text()!;
    request.int32();
    const partition = request.int32();
    const records = request.take(request.int32());
    if (fate !== 'refuse') this.received.push(...recordsOf(records).map((record) => ({ topic: name, ...record })));
    if (fate === 'take and hang up') return null;
    out.int32(1).text(name).int32(1).int32(partition);
    return out
      .int16(fate === 'refuse' ? 6 /* NOT_LEADER_OR_FOLLOWER */ : 0)
      .int64(0n)
      .int64(-1n)
      .int32(0)
      .bytes();
  }
}

/** Record batch, magic 2. */
function recordsOf(bytes: Buffer): Omit<Received, 'topic'>[] {
  const batch = new Reader(bytes);
  batch.take(8 + 4 + 4);
  if (batch.int8() !== 2) throw new Error('record batches of magic 2 are expected');
  batch.take(4 + 2 + 4 + 8 + 8 + 8 + 2 + 4);
  return Array.from({ length: batch.int32() }, () => {
    batch.varint();
    batch.int8();
    batch.varint();
    batch.varint();
    const key = batch.take(batch.varint()).toString('utf8');
    const value = batch.take(batch.varint()).toString('utf8');
    const headers: Record<string, string> = {};
    for (let n = batch.varint(); n > 0; n--) {
      const name = batch.take(batch.varint()).toString('utf8');
      headers[name] = batch.take(batch.varint()).toString('utf8');
    }
    return { key, value, headers };
  });
}

class Reader {
  #at = 0;
  constructor(private readonly bytes: Buffer) {}
  take(length: number): Buffer {
    this.#at += length;
    return this.bytes.subarray(this.#at - length, this.#at);
  }
  int8 = () => this.take(1).readInt8();
  int16 = () => this.take(2).readInt16BE();
  int32 = () => this.take(4).readInt32BE();
  text(): string | null {
    const length = this.int16();
    return length < 0 ? null : this.take(length).toString('utf8');
  }
  /** zigzag */
  varint(): number {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.take(1).readUInt8();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number((value >> 1n) ^ -(value & 1n));
    }
  }
}

class Writer {
  readonly #parts: Buffer[] = [];
  #put(size: number, write: (buffer: Buffer) => void): this {
    const buffer = Buffer.alloc(size);
    write(buffer);
    this.#parts.push(buffer);
    return this;
  }
  int8 = (value: number) => this.#put(1, (b) => b.writeInt8(value));
  int16 = (value: number) => this.#put(2, (b) => b.writeInt16BE(value));
  int32 = (value: number) => this.#put(4, (b) => b.writeInt32BE(value));
  int64 = (value: bigint) => this.#put(8, (b) => b.writeBigInt64BE(value));
  text(value: string): this {
    this.int16(Buffer.byteLength(value));
    this.#parts.push(Buffer.from(value));
    return this;
  }
  bytes = (): Buffer => Buffer.concat(this.#parts);
}
