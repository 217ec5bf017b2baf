// Requests from an OpenAPI document: what is right, what is nearly right, and what is nothing of the kind.
import { fitting, ODD_TEXTS, spoiled } from './values.mjs';

/** @returns {{ method: string, path: string, operation: object }[]} */
export function operationsOf(document) {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
}

/**
 * One request.
 * @param {{ random: object, document: object, known: object, operations: object[], weights: Record<string, number>, headers: Record<string, string> }} at
 * @returns {{ what: string, method: string, target: string, headers: Record<string, string>, body?: Buffer, operation?: object }}
 */
export function nextRequest(at) {
  const { random, operations, headers } = at;
  const { method, path, operation } = weighted(at, operations);
  const body = operation.requestBody?.content['application/json'].schema;
  const request = {
    what: 'fitting',
    method,
    target: filled(path, operation, at),
    headers: { ...headers },
    operation,
  };
  if (body !== undefined) {
    const value = fitting(body, at);
    request.headers['content-type'] = 'application/json';
    request.body = encoded(value);
    const kind = random.next();
    if (kind > 0.55) {
      request.what = 'spoiled';
      request.body = encoded(spoiled(value, at));
    }
    if (kind > 0.85) {
      request.what = 'broken text';
      request.body = brokenText(request.body, random);
    }
  } else if (random.chance(0.3)) {
    request.what = 'odd address';
    request.target = request.target.replace(/[^/]*$/, () =>
      encodeURIComponent(wellFormed(random.one(ODD_TEXTS))).slice(0, 900),
    );
    request.operation = undefined;
  }
  if (random.chance(0.05)) return strange(request, random);
  return request;
}

function weighted({ random, weights }, operations) {
  const weight = ({ operation }) => weights[operation.operationId] ?? 1;
  let left = random.next() * operations.reduce((sum, one) => sum + weight(one), 0);
  for (const one of operations) {
    left -= weight(one);
    if (left <= 0) return one;
  }
  return operations.at(-1);
}

function filled(path, operation, at) {
  const { random } = at;
  const text = (value) => encodeURIComponent(wellFormed(String(value)));
  let target = path;
  const query = [];
  for (const { name, in: where, required, schema } of operation.parameters ?? []) {
    const value = random.chance(0.75) ? fitting(schema, at, name) : random.one(ODD_TEXTS);
    if (where === 'path') target = target.replace(`{${name}}`, text(value) || 'x');
    else if (required || random.chance(0.6)) query.push(`${text(name)}=${text(value)}`);
  }
  if (random.chance(0.03)) query.push(random.one(['x=1', '=', '&&', 'a[b]=c', '__proto__=1', '%zz']));
  return query.length === 0 ? target : `${target}?${query.join('&')}`;
}

/** Half of a surrogate pair has no place in an address. */
const wellFormed = (text) => text.replaceAll(/[\ud800-\udfff]/g, (half, i) => (isPair(text, i) ? half : '�'));
const isPair = (text, i) => text.codePointAt(i) > 0xffff || (i > 0 && text.codePointAt(i - 1) > 0xffff);

/** JSON as a careless client may write it: lone surrogates escaped, others as they are. */
const encoded = (value) => Buffer.from(JSON.stringify(value));

function brokenText(body, random) {
  const bytes = Buffer.from(body);
  switch (random.below(6)) {
    case 0:
      return bytes.subarray(0, random.below(bytes.length + 1));
    case 1:
      bytes[random.below(bytes.length)] = random.below(256);
      return bytes;
    case 2:
      return Buffer.concat([bytes, Buffer.from(random.one(['}', ',', '{}', '\u0000', 'null']))]);
    case 3:
      return Buffer.from(bytes.toString().replace(/[:,]/, (at) => random.one([at + at, ' ', ';'])));
    case 4:
      return Buffer.from(
        bytes.toString().replace(/\d+/, () => random.one(['1e999', '-', '00', '0x1', 'NaN', '9'.repeat(400)])),
      );
    default:
      return Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), bytes]);
  }
}

function strange(request, random) {
  const changed = { ...request, headers: { ...request.headers }, what: 'strange', operation: undefined };
  switch (random.below(5)) {
    case 0:
      changed.method = random.one(['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'HEAD', 'POST']);
      break;
    case 1:
      changed.headers['content-type'] = random.one([
        'text/plain',
        'application/xml',
        'application/json; charset=utf-16',
        '',
        'multipart/form-data; boundary=x',
      ]);
      break;
    case 2:
      changed.target = random.one([
        '//',
        '/v1',
        '/v2/rank',
        '/v1/rank/',
        '/v1/%zz',
        '/..%2f..%2fetc',
        '/v1/rank?x=1',
        '/%00',
        `/${'a'.repeat(3000)}`,
        '/console/../../package.json',
      ]);
      break;
    case 3:
      changed.headers['x-request-id'] = random.one(['', 'a b', 'x'.repeat(200), 'ok-1', '<script>']);
      break;
    default:
      changed.body = Buffer.alloc(random.one([0, 1, 2_000_000]), random.one(['{', '[', '9', ' ']));
      changed.method = 'POST';
      changed.headers['content-type'] = 'application/json';
  }
  return changed;
}
