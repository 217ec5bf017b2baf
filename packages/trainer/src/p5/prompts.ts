// P5's prompts (Geng et al. 2022, "Recommendation as language processing"): user, scene and POI in text, then a question.
import { DataError, type Dataset, type KeywordText, type Samples, type SplitManifest, UsageError } from '@larr/core';
import type { Tokenizer } from '../language-model/tokenizer.js';

/** The rows that prompts are made of; texts by `user` and `poi`, scene [fields, rows] as indices of the split's texts. */
export type PromptRows = Pick<Samples, 'rows' | 'user' | 'poi' | 'scene'>;

/** A prompt's tokens, and at which of them which question is answered next: one of clicking, and one of ordering where there are orders. */
export interface Prompt {
  /** The user's part, which every prompt of a user begins with. */
  prefix: Int32Array;
  /** Scene, POI, questions. */
  rest: Int32Array;
  /** Places of `rest` after which an answer is read. */
  answers: number[];
}

export interface Prompts {
  make(rows: PromptRows, row: number): Prompt;
  yes: number;
  no: number;
  /** Questions in each prompt. */
  questions: number;
}

const QUESTIONS = [' Will this user click?', ' And order?'];

/**
 * Makes prompts of at most `contextLength` tokens: `user ⊕ scene ⊕ POI ⊕ " Will this user click?" (⊕ " And order?")`.
 * The second question is asked whatever the first one's answer is, which is in no prompt: both are read in one pass. Where a
 * text is too long the user's is cut to half of the context, the scene's to a quarter and the POI's to what is left.
 * @throws UsageError `SHORT_CONTEXT` where not even the questions fit
 */
export async function promptsOf(dataset: Dataset, tokenizer: Tokenizer, contextLength: number): Promise<Prompts> {
  const { manifest, split } = dataset;
  const users = await dataset.userTexts();
  const pois = await dataset.poiTexts();
  const userOrder = [...new Set([...manifest.texts.userProfile, ...manifest.texts.userBehaviour])];
  const ordered = (keywords: readonly KeywordText[], names: readonly string[]) =>
    names.flatMap((name) => keywords.filter(({ keyword }) => keyword === name));
  const { yes, no, lead } = answerTokens(tokenizer);
  const questions = QUESTIONS.slice(0, manifest.orders ? 2 : 1).map((text) => [...tokenizer.encode(text), ...lead]);
  const asked = questions.reduce((sum, ids) => sum + ids.length, 0);
  const room = contextLength - asked - 1;
  if (room < 8) {
    throw new UsageError(
      'SHORT_CONTEXT',
      `The language model's context of ${contextLength} tokens has no room for P5's questions (${asked} tokens) and texts. Take a model with a longer one.`,
    );
  }
  const start = tokenizer.bosId === null ? [] : [tokenizer.bosId];
  const userIds = remembered((user) =>
    Int32Array.from([
      ...start,
      ...tokenizer.encodeWrapped(ordered(users[user]!, userOrder)).subarray(0, Math.floor(0.5 * room)),
    ]),
  );
  const poiIds = remembered((poi) => tokenizer.encodeWrapped(pois[poi]!));
  const sceneIds = sceneTokens(split.scene, tokenizer);
  return {
    yes,
    no,
    questions: questions.length,
    make(rows, row) {
      const prefix = userIds(rows.user[row]!);
      const scene = sceneIds(rows, row).slice(0, Math.floor(0.25 * room));
      const poi = poiIds(rows.poi[row]!).subarray(0, room - prefix.length - scene.length);
      const rest = [...scene, ...poi];
      const answers: number[] = [];
      for (const question of questions) {
        rest.push(...question);
        answers.push(rest.length - 1);
      }
      return { prefix, rest: Int32Array.from(rest), answers };
    },
  };
}

/** A prompt's tokens in one. */
export function promptIds({ prefix, rest }: Prompt): Int32Array {
  const ids = new Int32Array(prefix.length + rest.length);
  ids.set(prefix);
  ids.set(rest, prefix.length);
  return ids;
}

function remembered(make: (index: number) => Int32Array): (index: number) => Int32Array {
  const known = new Map<number, Int32Array>();
  return (index) => {
    const ids = known.get(index) ?? make(index);
    known.set(index, ids);
    return ids;
  };
}

function sceneTokens(fields: SplitManifest['scene'], tokenizer: Tokenizer) {
  const known = fields.map(() => new Map<number, number[]>());
  return ({ scene, rows }: PromptRows, row: number): number[] =>
    fields.flatMap(({ token, texts }, f) => {
      const entry = scene[f * rows + row]!;
      if (entry === 0) return []; // missing
      const ids = known[f]!.get(entry) ?? [...tokenizer.encodeWrapped([{ token, text: texts[entry]! }])];
      known[f]!.set(entry, ids);
      return ids;
    });
}

/** The first tokens in which " yes" and " no" differ, and what both begin with. */
function answerTokens(tokenizer: Tokenizer): { yes: number; no: number; lead: number[] } {
  const yes = [...tokenizer.encode(' yes')];
  const no = [...tokenizer.encode(' no')];
  let same = 0;
  while (same < yes.length && same < no.length && yes[same] === no[same]) same++;
  if (same >= yes.length || same >= no.length)
    throw new DataError(
      'BAD_TOKENIZER',
      'The tokenizer writes "yes" and "no" alike: it cannot answer. Take another model.',
    );
  return { yes: yes[same]!, no: no[same]!, lead: yes.slice(0, same) };
}
