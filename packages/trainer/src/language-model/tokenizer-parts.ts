// How Hugging Face's library in Rust, which tokenizers are trained and published with, normalises and splits text, told to its library in
// JavaScript. That one reads the same tokenizer.json, but several parts otherwise: words of ASCII letters alone, U+FEFF as a blank, a
// behaviour of delimiters that it does not know taken for another.

/** A part of a `tokenizer.json`: its type and settings. */
interface Part {
  type: string;
  [setting: string]: unknown;
}

type Behaviour = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous';

// The classes of Rust's regular expressions and of its `char`, as members of a class in brackets. \s becomes White_Space on the way.
const WORD = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}';
const PUNCTUATION = '\\p{P}\\u0021-\\u002F\\u003A-\\u0040\\u005B-\\u0060\\u007B-\\u007E';
/** GPT-2's words: what `ByteLevel` splits into. */
const GPT2_WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
/** What `BertNormalizer` puts blanks around. */
const HAN =
  '\\u{4E00}-\\u{9FFF}\\u{3400}-\\u{4DBF}\\u{20000}-\\u{2A6DF}\\u{2A700}-\\u{2B73F}\\u{2B740}-\\u{2B81F}\\u{2B920}-\\u{2CEAF}\\u{F900}-\\u{FAFF}\\u{2F800}-\\u{2FA1F}';

/** A part that cannot be told: `what` names it. */
export class UnreadPart extends Error {}

const sequence = (key: 'pretokenizers' | 'normalizers', parts: Part[]): Part => ({ type: 'Sequence', [key]: parts });

/** The pieces are what the expression matches; what lies between goes. */
const matches = (Regex: string): Part => ({ type: 'Split', pattern: { Regex }, behavior: 'Removed', invert: true });

/** Replaces what an expression matches; in `content` JavaScript's $& stands for it. */
const replace = (Regex: string, content: string): Part => ({ type: 'Replace', pattern: { Regex }, content });

/** Pieces parted by what `delimiter` matches or, inverted, by what lies between. */
function split(delimiter: string, behaviour: Behaviour, inverted = false): Part {
  const match = `(?:${delimiter})`;
  const between = `(?:(?!${match})[\\s\\S])+`;
  if (behaviour === 'Removed') return matches(inverted ? match : between);
  // No two stretches between are neighbours: that a match and what follows it are one piece is the other way round all that there is.
  if (behaviour === 'MergedWithPrevious' || behaviour === 'MergedWithNext')
    return matches(
      (behaviour === 'MergedWithPrevious') === inverted
        ? `${match}(?:${between})?|${between}`
        : `${between}${match}?|${match}`,
    );
  return {
    type: 'Split',
    pattern: { Regex: behaviour === 'Contiguous' ? `${match}+` : delimiter },
    behavior: 'Isolated',
    invert: false,
  };
}

/** An expression of the pattern of a part, which may be a plain string. */
function expression(pattern: unknown): string {
  const { Regex, String: plain } = (pattern ?? {}) as { Regex?: string; String?: string };
  if (typeof Regex === 'string') return Regex;
  if (typeof plain === 'string') return plain.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  throw new UnreadPart(`a pattern ${JSON.stringify(pattern)}`);
}

/**
 * A pre-tokenizer under which the library in JavaScript splits as the one in Rust does under the given one.
 * @throws UnreadPart
 */
export function preTokenizerAsInRust(given: unknown, first = true): unknown {
  if (given == null) return null;
  const part = given as Part;
  const behaviour = (part.behavior ?? 'Isolated') as Behaviour;
  switch (part.type) {
    case 'Sequence': {
      const parts = part.pretokenizers as Part[];
      return sequence(
        'pretokenizers',
        parts.map((one, i) => preTokenizerAsInRust(one, first && i === 0) as Part),
      );
    }
    case 'Split':
      return split(expression(part.pattern), behaviour, part.invert === true);
    case 'Whitespace':
      return matches(`[${WORD}]+|[^${WORD}\\s]+`);
    case 'WhitespaceSplit':
      return matches('\\S+');
    case 'BertPreTokenizer':
      return matches(`[^\\s${PUNCTUATION}]+|[${PUNCTUATION}]`);
    case 'Punctuation':
      return split(`[${PUNCTUATION}]`, behaviour);
    case 'Digits':
      return split('\\p{N}', part.individual_digits === true ? 'Isolated' : 'Contiguous');
    case 'FixedLength':
      return matches(`[\\s\\S]{1,${part.length ?? 5}}`);
    case 'ByteLevel':
      if (part.use_regex === false) return part;
      return sequence('pretokenizers', [
        ...(part.add_prefix_space === false ? [] : [replace('\\A[^ ]', ' $&')]),
        matches(GPT2_WORDS),
        { ...part, use_regex: false, add_prefix_space: false },
      ]);
    case 'Metaspace': {
      const mark = String(part.replacement ?? '▁');
      // Only what stands at the beginning of a text: the library in JavaScript would take each piece of one for such.
      if (part.prepend_scheme === 'first' && !first)
        throw new UnreadPart('Metaspace with prepend_scheme "first" after another');
      return part.split === false
        ? part
        : sequence('pretokenizers', [part, split(expression({ String: mark }), 'MergedWithNext')]);
    }
    default:
      throw new UnreadPart(`the pre-tokenizer ${part.type}`);
  }
}

/** Parts of a normaliser that both libraries compute alike. */
const alike = new Set(['NFC', 'NFD', 'NFKC', 'NFKD', 'StripAccents', 'Prepend', 'Precompiled']);

/** Rust lowers characters one by one; JavaScript knows the sigma at the end of a word. */
const SIGMA = replace('Σ', 'σ');

/** The same for a normaliser. @throws UnreadPart */
export function normalizerAsInRust(given: unknown): unknown {
  if (given == null) return null;
  const part = given as Part;
  switch (part.type) {
    case 'Sequence':
      return sequence(
        'normalizers',
        (part.normalizers as Part[]).map((one) => normalizerAsInRust(one) as Part),
      );
    case 'Strip': {
      const ends = [...(part.strip_left ? ['\\A\\s+'] : []), ...(part.strip_right ? ['\\s+\\z'] : [])];
      return sequence('normalizers', ends.length === 0 ? [] : [replace(ends.join('|'), '')]);
    }
    case 'Replace':
      return replace(expression(part.pattern), String(part.content ?? '').replaceAll('$', '$$$$'));
    case 'Lowercase':
      return sequence('normalizers', [SIGMA, part]);
    case 'BertNormalizer':
      return sequence('normalizers', [
        ...(part.clean_text
          ? [replace('(?![\\t\\n\\r])[\\p{Cc}\\p{Cf}\\p{Co}\\p{Cs}]|\\uFFFD', ''), replace('\\s', ' ')]
          : []),
        ...(part.handle_chinese_chars ? [replace(`[${HAN}]`, ' $& ')] : []),
        ...(part.lowercase ? [SIGMA] : []),
        { ...part, clean_text: false, handle_chinese_chars: false },
      ]);
    default:
      if (alike.has(part.type)) return part;
      throw new UnreadPart(`the normalizer ${part.type}`);
  }
}
