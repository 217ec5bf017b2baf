/** An answer that is not a success, with what the client may know about it. */
export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly field?: string,
    /** Seconds after which trying again makes sense. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }
}

export const notReady = (): ApiError =>
  new ApiError(503, 'NOT_READY', 'the model is still loading; /readyz says when it is there', undefined, 1);

export const stopping = (): ApiError =>
  new ApiError(
    503,
    'NOT_READY',
    'the server is stopping; ask another one, or this one once it runs again',
    undefined,
    1,
  );

export const modelFailed = (): ApiError =>
  new ApiError(503, 'MODEL_FAILED', 'the model has failed; the server has to be started again');

interface AjvProblem {
  instancePath: string;
  keyword: string;
  message?: string;
  params: Record<string, unknown>;
}

/** A field of a scene, wherever the request has one. */
const SCENE_VALUE = /(^|\/)scene\/[^/]+$/;

/** Turns the first problem a JSON-schema validator found into an answer that names the field: `candidates[3]: must be string`. */
export function invalidBody(problems: readonly AjvProblem[]): ApiError {
  const problem = problems[0];
  if (problem === undefined)
    return new ApiError(400, 'BODY_INVALID', 'the body does not match the schema in /openapi.json');
  let field = fieldName(problem.instancePath);
  let message = problem.message ?? 'is not valid';
  if (problem.keyword === 'required') {
    field = join(field, String(problem.params.missingProperty));
    message = 'is missing';
  } else if (problem.keyword === 'additionalProperties') {
    field = join(field, String(problem.params.additionalProperty));
    message = 'is not a field of this request';
  } else if (problem.keyword === 'uniqueItems') {
    const { i, j } = problem.params as { i: number; j: number };
    field = `${field}[${Math.max(i, j)}]`;
    message = `repeats ${fieldName(problem.instancePath)}[${Math.min(i, j)}]`;
  } else if (problem.keyword === 'type' && SCENE_VALUE.test(problem.instancePath)) {
    message =
      'must be a text, a number, true, false or null; a list goes as one text, its values joined with ", " as in training';
  } else if (problem.keyword === 'enum') {
    message = `must be one of ${(problem.params.allowedValues as unknown[]).join(', ')}`;
  }
  return new ApiError(
    400,
    'BODY_INVALID',
    `${field === '' ? 'the body' : field} ${message}`,
    field === '' ? undefined : field,
  );
}

/** `/candidates/3` → `candidates[3]` */
function fieldName(pointer: string): string {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce((path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : join(path, part)), '');
}

const join = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`);
