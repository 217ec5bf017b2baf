import { Ajv2020 } from 'ajv/dist/2020.js';

/** What may come though no operation says it: there is no such address, or not so. */
const ANYWHERE = new Set([400, 401, 403, 404, 405, 413, 414, 415, 429, 431, 503]);
/** Of a program or of a machine: nothing that a client should see. */
const LEAK =
  /node_modules|\/packages\/|\bat (async )?[\w.<>]+ \(|\.[cm]?[jt]s:\d+|FST_ERR|ERR_[A-Z]+_|ENOENT|EACCES|\/tmp\/|\/home\/|\/root\//;

/** A function that says what is wrong with an answer, or null. */
export function answerChecker(document) {
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema(document, 'api');
  const pointer = (text) => text.replaceAll('~', '~0').replaceAll('/', '~1');
  const validators = new Map();
  const validator = (ref) => {
    let found = validators.get(ref);
    if (found === undefined) {
      found = ajv.getSchema(ref) ?? ajv.compile({ $ref: ref });
      validators.set(ref, found);
    }
    return found;
  };
  const refused = validator('api#/components/schemas/ErrorReply');
  const wrong = (schema, value) =>
    schema(value) ? null : `does not fit its schema: ${ajv.errorsText(schema.errors).slice(0, 200)}`;

  /** @param {{ status: number, headers: object, text: string }} answer */
  return ({ method, path, operation }, { status, headers, text }) => {
    if (status >= 500 && status !== 503) return `status ${status}: ${text.slice(0, 300)}`;
    if (LEAK.test(text)) return `shows what is inside: ${LEAK.exec(text)[0]}`;
    if (headers['x-content-type-options'] !== 'nosniff') return 'lacks its security headers';
    if (method === 'HEAD') return null;
    const json = /^application\/json/.test(headers['content-type'] ?? '');
    let value;
    if (json) {
      try {
        value = JSON.parse(text);
      } catch {
        return 'says it is JSON, and is not';
      }
    }
    if (status >= 400 && (operation === undefined || ANYWHERE.has(status))) {
      if (!json) return `status ${status} without JSON`;
      const own = operation?.responses[status]?.content?.['application/json']?.schema.$ref;
      const problem = wrong(refused, value);
      if (problem !== null && own !== undefined && !own.endsWith('/ErrorReply'))
        return wrong(validator(`api${own}`), value);
      if (problem !== null) return `status ${status} ${problem}`;
      if (operation !== undefined && operation.responses[status] === undefined && status !== 405)
        return `status ${status} is not among those of ${operation.operationId}`;
      if (status === 429 || (status === 503 && ['OVERLOADED', 'NOT_READY'].includes(value.error?.code)))
        return /^\d+$/.test(headers['retry-after'] ?? '') ? null : `status ${status} without Retry-After`;
      return null;
    }
    if (operation === undefined) return null;
    const said = operation.responses[status];
    if (said === undefined) return `status ${status} is not among those of ${operation.operationId}`;
    if (said.content?.['application/json'] !== undefined) {
      if (!json) return `status ${status} without JSON`;
      const problem = wrong(
        validator(
          `api#/paths/${pointer(path)}/${method.toLowerCase()}/responses/${status}/content/application~1json/schema`,
        ),
        value,
      );
      return problem === null ? null : `status ${status} ${problem}`;
    }
    return null;
  };
}
