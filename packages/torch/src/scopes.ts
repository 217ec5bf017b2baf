import { AsyncLocalStorage, createHook } from 'node:async_hooks';
import { types } from 'node:util';
import { native } from './addon.js';
import { TensorError } from './errors.js';
import { Tensor } from './tensor.js';

const createScope = native.createScope as () => number;
const beginScope = native.beginScope as () => number;
const endScope = native.endScope as (scope: number, kept: readonly Tensor[]) => void;
const currentScope = native.currentScope as () => number;
/** False when that scope has ended. */
const enterScope = native.enterScope as (scope: number) => boolean;
const gradEnabled = native.gradEnabled as () => boolean;
const setGradEnabled = native.setGradEnabled as (enabled: boolean) => void;
const autocastEnabled = native.autocastEnabled as () => boolean;
const setAutocastEnabled = native.setAutocastEnabled as (enabled: boolean) => void;

/** Takes a tensor out of its scopes: it lives until `dispose()`. Returns it. */
export const keep = native.keep as (tensor: Tensor) => Tensor;

/** Tensors that live and the bytes that their memory takes, views counted once. Of this thread. */
export const memoryStats = native.memoryStats as () => { tensors: number; bytes: number };

// ---- what the native side must be set to while a function runs ----

interface Context {
  readonly scope: number;
  readonly grad: boolean;
  readonly autocast: boolean;
  readonly parent: Context | undefined;
}

function captured(parent: Context | undefined): Context {
  return { scope: currentScope(), grad: gradEnabled(), autocast: autocastEnabled(), parent };
}

function apply(context: Context | undefined): void {
  // Work that outlives its scope falls to the scope around it.
  let live = context;
  while (live !== undefined && !enterScope(live.scope)) live = live.parent;
  if (live === undefined) enterScope(0);
  const grad = context?.grad ?? true;
  const autocast = context?.autocast ?? false;
  if (gradEnabled() !== grad) setGradEnabled(grad);
  if (autocastEnabled() !== autocast) setAutocastEnabled(autocast);
}

// Asynchronous functions interleave: each continuation must find the scope and the modes of its own function. While such a
// function is under way, a hook sets them before every callback and puts back what was there after it.
const storage = new AsyncLocalStorage<Context>();
const interrupted: Context[] = [];
const hook = createHook({
  before() {
    interrupted.push(captured(undefined));
    apply(storage.getStore());
  },
  after() {
    apply(interrupted.pop());
  },
});
let underWay = 0;

async function runAsync<T>(context: Context, fn: () => Promise<T>): Promise<T> {
  if (underWay++ === 0) hook.enable();
  const outer = captured(undefined);
  let promise: Promise<T>;
  try {
    apply(context);
    promise = storage.run(context, fn);
  } catch (error) {
    promise = Promise.reject(error);
  } finally {
    apply(outer);
  }
  try {
    return await promise;
  } finally {
    if (--underWay === 0) {
      hook.disable();
      interrupted.length = 0;
    }
  }
}

/** The tensors in a value: itself, or nested in arrays, objects, maps and sets. */
function tensorsIn(value: unknown, found: Tensor[], seen: Set<object>): void {
  if (typeof value !== 'object' || value === null) return;
  if (value instanceof Tensor) {
    found.push(value);
    return;
  }
  if (ArrayBuffer.isView(value) || seen.has(value)) return;
  seen.add(value);
  if (value instanceof Map) {
    for (const [key, item] of value) {
      tensorsIn(key, found, seen);
      tensorsIn(item, found, seen);
    }
  } else if (Array.isArray(value) || value instanceof Set) {
    for (const item of value) tensorsIn(item, found, seen);
  } else {
    for (const key of Object.keys(value)) tensorsIn((value as Record<string, unknown>)[key], found, seen);
  }
}

function kept(value: unknown): Tensor[] {
  if (typeof value !== 'object' || value === null) return [];
  const found: Tensor[] = [];
  tensorsIn(value, found, new Set());
  return found;
}

function refusePromise(value: unknown, operator: string, instead: string): void {
  if (types.isPromise(value)) {
    value.catch(() => {});
    throw new TensorError(
      'TENSOR_SCOPE',
      operator,
      [],
      `the function returned a promise, whose work would go on outside: ${instead}`,
    );
  }
}

/**
 * Runs fn and then disposes of every tensor made inside, but those that it returns (also nested in arrays, objects, maps and
 * sets), which then belong to the scope around. Gradients of parameters stay.
 * @throws TensorError TENSOR_SCOPE when fn returns a promise: that is what `tidyAsync` is for
 */
export function tidy<T>(fn: () => T): T {
  const outer = currentScope();
  const scope = beginScope();
  let survivors: Tensor[] = [];
  try {
    const result = fn();
    refusePromise(result, 'tidy', 'use tidyAsync');
    survivors = kept(result);
    return result;
  } finally {
    endScope(scope, survivors);
    enterScope(outer);
  }
}

/**
 * `tidy` for an asynchronous function. Any number may be under way at once, nested or side by side: each disposes of the
 * tensors made by its own function. Gradient mode and autocast at the call hold inside throughout.
 */
export async function tidyAsync<T>(fn: () => Promise<T>): Promise<T> {
  const context: Context = { ...captured(storage.getStore()), scope: createScope() };
  let survivors: Tensor[] = [];
  try {
    const result = await runAsync(context, fn);
    survivors = kept(result);
    return result;
  } finally {
    endScope(context.scope, survivors);
  }
}

function withMode<T>(fn: () => T, operator: string, change: Partial<Context>): T {
  if (types.isAsyncFunction(fn)) {
    const context: Context = { ...captured(storage.getStore()), ...change };
    return runAsync(context, fn as () => Promise<unknown>) as T;
  }
  const outer = { grad: gradEnabled(), autocast: autocastEnabled() };
  try {
    if (change.grad !== undefined) setGradEnabled(change.grad);
    if (change.autocast !== undefined) setAutocastEnabled(change.autocast);
    const result = fn();
    refusePromise(result, operator, `give ${operator} an async function`);
    return result;
  } finally {
    if (change.grad !== undefined) setGradEnabled(outer.grad);
    if (change.autocast !== undefined) setAutocastEnabled(outer.autocast);
  }
}

/** Runs fn, which may be an `async` function, without recording for `backward`. */
export function noGrad<T>(fn: () => T): T {
  return withMode(fn, 'noGrad', { grad: false });
}

/**
 * Runs fn, which may be an `async` function, with products in bf16 and sensitive operators in f32 (LibTorch's autocast, CPU
 * and CUDA). `backward` and optimiser steps belong outside.
 * @param options.enabled  false switches autocast off inside
 */
export function autocast<T>(fn: () => T, options: { dtype?: 'bf16'; enabled?: boolean } = {}): T {
  return withMode(fn, 'autocast', { autocast: options.enabled ?? true });
}
