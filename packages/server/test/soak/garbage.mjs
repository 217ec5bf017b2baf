import { connect } from 'node:net';
import { fuzz } from '../fuzz/fuzz.mjs';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A client that sends what it should not: wrong requests, noise, halves of requests, connections that it drops or keeps without a word. */
export function garbage({ url, key, over, wrong, random }) {
  let fuzzed = 0;
  let sockets = 0;
  const fuzzing = async () => {
    for (let seed = 1; !over(); seed++) {
      const { failures, requests } = await fuzz({
        ...{ url, key, seed, requests: 25, connections: 1 },
        only: ['rank', 'score', 'recall', 'readiness', 'state', 'catalogueUsers', 'cataloguePois', 'catalogueScene'],
      });
      fuzzed += requests;
      for (const failure of failures) wrong('a fuzzed request', failure);
      await sleep(1000);
    }
  };
  const raw = async () => {
    const { hostname, port } = new URL(url);
    const held = [];
    while (!over()) {
      const socket = connect(Number(port), hostname);
      socket.on('error', () => {});
      socket.resume();
      sockets++;
      const body = '{"user":"u","candidates":["a","b"]}';
      const head = `POST /v1/rank HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
      switch (random.below(5)) {
        case 0:
          socket.write(Buffer.from(Array.from({ length: 2000 }, () => random.below(256))));
          break;
        case 1:
          socket.write(head + body.slice(0, random.below(body.length)));
          break;
        case 2:
          // asked, and gone before the answer
          socket.write((head + body).repeat(5), () => socket.resetAndDestroy());
          break;
        case 3:
          socket.write('GET /v1/rank HTTP/1.1\r\nx: ');
          break;
        case 4:
          break;
      }
      held.push(socket);
      if (held.length > 50) held.shift().destroy();
      await sleep(100);
    }
    for (const socket of held) socket.destroy();
  };
  return { done: Promise.all([fuzzing(), raw()]), result: () => ({ fuzzed, sockets }) };
}
