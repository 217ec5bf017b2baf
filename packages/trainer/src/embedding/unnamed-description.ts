const LATIN = /[\p{Script=Latin}\p{M}\p{N}'’&-]+(?:\s+[\p{Script=Latin}\p{M}\p{N}'’&-]+)*/gu;
const OTHER = /[^\p{Script=Latin}\s\p{P}\p{N}]+/gu;

/**
 * A dish's description with "it" wherever it says the dish's own name, whole or the part in one script ("mapo tofu 麻婆豆腐", "mapo
 * tofu"): a pair of a name and a description that repeats it is matched by copying letters, and teaches nothing of what the dish is like.
 */
export function unnamedDescription(description: string, dish: string): string {
  const parts = [...(dish.match(LATIN) ?? []), ...(dish.match(OTHER) ?? [])];
  const names = [dish.trim(), ...parts].filter((name) => name.length > 1).sort((a, b) => b.length - a.length);
  return names.reduce((text, name) => text.replace(wholeWords(name), 'it'), description);
}

/** Latin words end where their letters do; other scripts need no spaces between words. */
function wholeWords(name: string): RegExp {
  const literal = name.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  const inWord = '[\\p{Script=Latin}\\p{N}]';
  const before = new RegExp(`^${inWord}`, 'u').test(name) ? `(?<!${inWord})` : '';
  const after = new RegExp(`${inWord}$`, 'u').test(name) ? `(?!${inWord})` : '';
  return new RegExp(before + literal + after, 'giu');
}
