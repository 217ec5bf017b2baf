#!/usr/bin/env node
// Writes, from operators.mjs:
//   --typescript FILE   the types of Tensor's generated methods and the functions of several tensors
//   --cpp FILE          the N-API glue of both
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { functions, methods } from './operators.mjs';

const kinds = {
  tensor: { ts: 'Tensor', cpp: 'const at::Tensor&', read: (v, n) => `read.tensor(${v}, "${n}")` },
  'tensor?': {
    ts: 'Tensor | null',
    cpp: 'const std::optional<at::Tensor>',
    read: (v, n) => `std::optional<at::Tensor>(read.tensor(${v}, "${n}"))`,
  },
  tensors: {
    ts: 'readonly Tensor[]',
    cpp: 'const std::vector<at::Tensor>',
    read: (v, n) => `read.tensors(${v}, "${n}")`,
  },
  operand: { ts: 'Tensor | number', cpp: 'const Operand', read: (v, n) => `read.operand(${v}, "${n}")` },
  scalar: {
    ts: 'number',
    cpp: 'const at::Scalar',
    literal: (d) => `at::Scalar(${d})`,
    read: (v, n) => `read.scalar(${v}, "${n}")`,
  },
  'scalar?': {
    ts: 'number | null',
    cpp: 'const std::optional<at::Scalar>',
    read: (v, n) => `std::optional<at::Scalar>(read.scalar(${v}, "${n}"))`,
  },
  int: {
    ts: 'number',
    cpp: 'const int64_t',
    literal: (d) => `int64_t{${d}}`,
    read: (v, n) => `read.integer(${v}, "${n}")`,
  },
  'int?': {
    ts: 'number | null',
    cpp: 'const std::optional<int64_t>',
    read: (v, n) => `std::optional<int64_t>(read.integer(${v}, "${n}"))`,
  },
  ints: {
    ts: 'number | readonly number[]',
    cpp: 'const std::vector<int64_t>',
    read: (v, n) => `read.integers(${v}, "${n}")`,
  },
  'ints?': {
    ts: 'number | readonly number[] | null',
    cpp: 'const std::optional<std::vector<int64_t>>',
    read: (v, n) => `std::optional<std::vector<int64_t>>(read.integers(${v}, "${n}"))`,
  },
  number: {
    ts: 'number',
    cpp: 'const double',
    literal: (d) => `double{${d}}`,
    read: (v, n) => `read.number(${v}, "${n}")`,
  },
  'number?': {
    ts: 'number | null',
    cpp: 'const std::optional<double>',
    read: (v, n) => `std::optional<double>(read.number(${v}, "${n}"))`,
  },
  bool: { ts: 'boolean', cpp: 'const bool', literal: (d) => d, read: (v, n) => `read.boolean(${v}, "${n}")` },
  text: {
    ts: 'string',
    cpp: 'const std::string',
    literal: (d) => `std::string("${d}")`,
    read: (v, n) => `read.text(${v}, "${n}")`,
  },
  reduction: {
    ts: "'none' | 'mean' | 'sum'",
    cpp: 'const int64_t',
    literal: (d) => `reductionOf("${d}")`,
    read: (v, n) => `reductionOf(read.text(${v}, "${n}"))`,
  },
};

/** 'a: int = 1, b: tensor?' → [{name, kind, fallback}] */
function parse(signature = '') {
  if (!signature) return [];
  return signature.split(', ').map((part) => {
    const match = /^(\w+): ([a-z]+\??)(?: = (.+))?$/.exec(part);
    if (!match || !kinds[match[2]]) throw new Error(`operators.mjs: cannot read the argument '${part}'`);
    return { name: match[1], kind: match[2], fallback: match[3] };
  });
}

const isOptional = (arg) => arg.fallback !== undefined || arg.kind.endsWith('?');

function typescriptSignature(operator, result) {
  const args = parse(operator.args);
  const parameters = args.map((a) => `${a.name}${isOptional(a) ? '?' : ''}: ${kinds[a.kind].ts}`);
  if (operator.options) {
    const fields = parse(operator.options).map((a) => `${a.name}?: ${kinds[a.kind].ts}`);
    parameters.push(`options?: { ${fields.join('; ')} }`);
  }
  return `(${parameters.join(', ')})${result}`;
}

const typescriptResult = { tensor: 'Tensor', tensors: 'Tensor[]', pair: '[Tensor, Tensor]', this: 'this' };

function documentation(operator, indent) {
  const defaults = [...parse(operator.args), ...parse(operator.options)]
    .filter((a) => a.fallback !== undefined)
    .map((a) => `${a.name} = ${a.fallback}`);
  const text = operator.doc + (defaults.length > 0 ? ` Defaults: ${defaults.join(', ')}.` : '');
  return `${indent}/** ${text} */`;
}

/** The TypeScript source. */
export function typescript() {
  const lines = [
    '// Written by operators/generate.mjs from operators/operators.mjs. Change that list, not this file.',
    "import { native } from './addon.js';",
    "import type { Tensor } from './tensor.js';",
    '',
    '/** Operators of LibTorch as methods of Tensor. */',
    'export interface TensorOperators {',
  ];
  for (const operator of methods) {
    lines.push(documentation(operator, '  '));
    lines.push(
      `  ${operator.name}${typescriptSignature(operator, `: ${typescriptResult[operator.returns ?? 'tensor']}`)};`,
    );
  }
  lines.push('}', '');
  for (const operator of functions) {
    lines.push(documentation(operator, ''));
    const signature = typescriptSignature(operator, ` => ${typescriptResult[operator.returns ?? 'tensor']}`);
    lines.push(`export const ${operator.name} = native.${operator.name} as ${signature};`, '');
  }
  return lines.join('\n');
}

function cppBody(operator, isMethod) {
  const args = parse(operator.args);
  const lines = [];
  const declare = (arg, value, guard) => {
    const kind = kinds[arg.kind];
    const name = arg.kind === 'operand' ? `${arg.name}_` : arg.name;
    const read = kind.read(value, arg.name);
    if (arg.kind === 'ints?') {
      // The view that ATen takes needs the vector to live beside it.
      return `  ${kind.cpp} ${name}Values = ${guard} ? ${read} : ${kind.cpp.replace('const ', '')}();\n    const at::OptionalIntArrayRef ${name} = view(${name}Values);`;
    }
    if (arg.fallback !== undefined)
      return `  ${kind.cpp} ${name} = ${guard} ? ${read} : ${kind.literal(arg.fallback)};`;
    if (arg.kind.endsWith('?'))
      return `  ${kind.cpp} ${name} = ${guard} ? ${read} : ${kind.cpp.replace('const ', '')}();`;
    return `  ${kind.cpp} ${name} = ${read};`;
  };
  lines.push('  const Reader read = call.read();');
  if (isMethod) lines.push('  const at::Tensor& self = read.tensor(call.self(), "this");');
  for (const [i, arg] of args.entries()) lines.push(declare(arg, `call.at(${i})`, `call.has(${i})`));
  if (operator.options) {
    const place = args.length;
    lines.push(`  const bool hasOptions = call.has(${place});`);
    for (const arg of parse(operator.options)) {
      lines.push(
        `  const napi_value ${arg.name}Value = hasOptions ? read.property(call.at(${place}), "${arg.name}") : call.undefined();`,
      );
      lines.push(declare(arg, `${arg.name}Value`, `!read.absent(${arg.name}Value)`));
    }
  }
  let expression = operator.cpp;
  for (const arg of args.filter((a) => a.kind === 'operand').reverse()) {
    expression = `visitOperand(${arg.name}_, [&](const auto& ${arg.name}) { return ${expression}; })`;
  }
  if (operator.returns === 'this') {
    lines.push(`  ${expression};`, '  return call.self();');
  } else {
    lines.push(`  return call.result(${expression});`);
  }
  return lines;
}

/** The C++ source, included by cpp/operators.cpp. */
export function cpp() {
  const lines = ['// Written by operators/generate.mjs from operators/operators.mjs.'];
  for (const [list, prefix] of [
    [methods, 'method'],
    [functions, 'function'],
  ]) {
    for (const operator of list) {
      lines.push(`static napi_value ${prefix}_${operator.name}(napi_env env, napi_callback_info info) {`);
      lines.push(`  return guarded(env, info, "${operator.name}", [](Call& call) -> napi_value {`);
      lines.push(...cppBody(operator, prefix === 'method').map((line) => `  ${line}`));
      lines.push('  });', '}', '');
    }
    lines.push(`static const Function ${prefix}Table[] = {`);
    for (const operator of list) lines.push(`    {"${operator.name}", ${prefix}_${operator.name}},`);
    lines.push('};', '');
  }
  return lines.join('\n');
}

/** Writes a file only when it changes, so that what depends on it is not built again for nothing. */
function writeWhenChanged(file, text) {
  mkdirSync(path.dirname(file), { recursive: true });
  try {
    if (readFileSync(file, 'utf8') === text) return;
  } catch {
    // It is not there yet.
  }
  writeFileSync(file, text);
}

if (process.argv[1] && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const target = process.argv[3];
  if (process.argv[2] === '--typescript' && target) writeWhenChanged(target, typescript());
  else if (process.argv[2] === '--cpp' && target) writeWhenChanged(target, cpp());
  else {
    process.stderr.write('usage: generate.mjs --typescript FILE | --cpp FILE\n');
    process.exitCode = 2;
  }
}
