import { DataError } from '@larr/core';
import protobuf from 'protobufjs';

/** What a piece is: taken in segmentation (normal, user-defined), never made by it (control), a raw byte, or one that falls apart again. */
export type PieceType = 'normal' | 'unknown' | 'control' | 'user-defined' | 'byte' | 'unused';

export interface Piece {
  text: string;
  score: number;
  type: PieceType;
}

/** A SentencePiece `tokenizer.model` (Kudo and Richardson 2018), as far as encoding and decoding need it. */
export interface SentencePieceModel {
  /** Piece i has id i. */
  pieces: Piece[];
  kind: 'unigram' | 'bpe';
  /** Characters without a piece become their UTF-8 bytes instead of the unknown token. */
  byteFallback: boolean;
  /** The blank that stands before a text stands behind it instead. */
  whitespaceAsSuffix: boolean;
  unknownId: number;
  /** -1 where the model has none. */
  bosId: number;
  eosId: number;
  padId: number;
  /** What the unknown token decodes to. */
  unknownSurface: string;
  normaliser: {
    /** "identity", "nmt_nfkc", …; told, not used: the map below is what it does. */
    name: string;
    /** Replacements of characters as a trie and their results; empty for identity. */
    charactersMap: Uint8Array;
    addDummyPrefix: boolean;
    removeExtraWhitespace: boolean;
    escapeWhitespace: boolean;
  };
}

/** `[number, type, default?, rule?]` of the fields read here, by message; numbers and defaults are those of sentencepiece_model.proto. */
const MESSAGES: Record<string, Record<string, [id: number, type: string, otherwise?: unknown, rule?: 'repeated']>> = {
  ModelProto: {
    pieces: [1, 'SentencePiece', undefined, 'repeated'],
    trainerSpec: [2, 'TrainerSpec'],
    normalizerSpec: [3, 'NormalizerSpec'],
  },
  SentencePiece: { piece: [1, 'string', ''], score: [2, 'float', 0], type: [3, 'int32', 1] },
  TrainerSpec: {
    modelType: [3, 'int32', 1],
    treatWhitespaceAsSuffix: [24, 'bool', false],
    byteFallback: [35, 'bool', false],
    unkId: [40, 'int32', 0],
    bosId: [41, 'int32', 1],
    eosId: [42, 'int32', 2],
    padId: [43, 'int32', -1],
    unkSurface: [44, 'string', ' \u2047 '],
  },
  NormalizerSpec: {
    name: [1, 'string', ''],
    precompiledCharsmap: [2, 'bytes'],
    addDummyPrefix: [3, 'bool', true],
    removeExtraWhitespaces: [4, 'bool', true],
    escapeWhitespaces: [5, 'bool', true],
  },
};

const root = new protobuf.Root();
for (const [name, fields] of Object.entries(MESSAGES)) {
  const message = new protobuf.Type(name);
  for (const [field, [id, type, otherwise, rule]] of Object.entries(fields)) {
    message.add(
      new protobuf.Field(
        field,
        id,
        type,
        rule ?? 'optional',
        undefined,
        otherwise === undefined ? undefined : { default: otherwise },
      ),
    );
  }
  root.add(message);
}
const ModelProto = root.lookupType('ModelProto');

/** SentencePiece.Type by its number. */
const pieceTypes: Record<number, PieceType> = {
  1: 'normal',
  2: 'unknown',
  3: 'control',
  4: 'user-defined',
  5: 'unused',
  6: 'byte',
};

interface Message {
  pieces?: { piece: string; score: number; type: number }[];
  trainerSpec?: Record<string, number | boolean | string>;
  normalizerSpec?: Record<string, unknown>;
}

/**
 * Reads a `tokenizer.model`.
 * @param from the file's path, for error messages
 * @throws DataError `BAD_TOKENIZER` where it is none, or one of words or characters
 */
export function readSentencePiece(bytes: Uint8Array, from: string): SentencePieceModel {
  const bad = (what: string) =>
    new DataError('BAD_TOKENIZER', `${from} ${what}. Copy tokenizer.model again from where the model was published.`, {
      file: from,
    });
  let message: Message;
  try {
    message = ModelProto.decode(bytes) as unknown as Message;
  } catch (error) {
    throw bad(`is not a SentencePiece model (${(error as Error).message})`);
  }
  const all = message.pieces ?? [];
  if (all.length === 0 || message.trainerSpec === undefined || message.normalizerSpec === undefined)
    throw bad('is not a whole SentencePiece model: it has no pieces, trainer or normaliser');
  const trainer = message.trainerSpec;
  const normaliser = message.normalizerSpec;
  if (trainer.modelType !== 1 && trainer.modelType !== 2) {
    throw new DataError(
      'BAD_TOKENIZER',
      `${from} is a SentencePiece model of type ${trainer.modelType}; unigram (1) and BPE (2) are read.`,
      { file: from },
    );
  }
  const pieces = all.map(({ piece, score, type }, id): Piece => {
    const known = pieceTypes[type];
    if (known === undefined) throw bad(`has a piece ${id} of unknown type ${type}`);
    return { text: piece, score, type: known };
  });
  const unknownId = pieces.findIndex(({ type }) => type === 'unknown');
  if (unknownId < 0) throw bad('has no unknown piece');
  const special = (id: unknown) => (typeof id === 'number' && id >= 0 && id < pieces.length ? id : -1);
  return {
    pieces,
    kind: trainer.modelType === 1 ? 'unigram' : 'bpe',
    byteFallback: trainer.byteFallback === true,
    whitespaceAsSuffix: trainer.treatWhitespaceAsSuffix === true,
    unknownId,
    bosId: special(trainer.bosId),
    eosId: special(trainer.eosId),
    padId: special(trainer.padId),
    unknownSurface: String(trainer.unkSurface),
    normaliser: {
      name: String(normaliser.name),
      charactersMap: (normaliser.precompiledCharsmap as Uint8Array | undefined) ?? new Uint8Array(),
      addDummyPrefix: normaliser.addDummyPrefix === true,
      removeExtraWhitespace: normaliser.removeExtraWhitespaces === true,
      escapeWhitespace: normaliser.escapeWhitespaces === true,
    },
  };
}
