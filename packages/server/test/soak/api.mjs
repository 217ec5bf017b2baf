import { Agent, request } from 'node:http';

/** A function that asks one server: `(method, path, body)` → `{ status, headers, body, ms }`; status 0 where no answer came. */
export function api(url, key) {
  const { hostname, port } = new URL(url);
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  return (method, path, body) =>
    new Promise((resolve) => {
      const since = performance.now();
      const text = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
      const failed = (error) =>
        resolve({
          status: 0,
          headers: {},
          body: { error: error.code ?? error.message },
          ms: performance.now() - since,
        });
      const call = request(
        {
          ...{ agent, hostname, port, method, path },
          headers: {
            authorization: `Bearer ${key}`,
            ...(text === undefined ? {} : { 'content-type': 'application/json', 'content-length': text.length }),
          },
        },
        (reply) => {
          const parts = [];
          reply.on('data', (part) => parts.push(part));
          reply.on('error', failed);
          reply.on('end', () => {
            const all = Buffer.concat(parts).toString();
            const json = /json/.test(reply.headers['content-type'] ?? '');
            resolve({
              status: reply.statusCode,
              headers: reply.headers,
              body: json ? JSON.parse(all) : all,
              ms: performance.now() - since,
            });
          });
        },
      );
      call.setTimeout(60_000, () => call.destroy(new Error('no answer in a minute')));
      call.on('error', failed);
      call.end(text);
    });
}
