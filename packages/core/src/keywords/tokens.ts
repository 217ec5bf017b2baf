import type { DatasetManifest } from '../dataset/manifest.js';

/** One keyword of a POI, a user or a scene that has a text. */
export interface KeywordText {
  keyword: string;
  token: string;
  text: string;
}

/** `<k> text </k>`: method.md, section 1. */
export function wrapKeyword(token: string, text: string): string {
  return `<${token}> ${text} </${token}>`;
}

/** Wrapped keywords one after another, joined by one space: method.md, section 1. */
export function wrapText(keywords: readonly { token: string; text: string }[]): string {
  return keywords.map((k) => wrapKeyword(k.token, k.text)).join(' ');
}

/** Every special token of S = S_poi ∪ S_user ∪ S_scene, in the manifest's order: `<k>` then `</k>` for each keyword. */
export function specialTokens(manifest: Pick<DatasetManifest, 'keywords'>): string[] {
  const { poi, user, scene } = manifest.keywords;
  return [...poi, ...user, ...scene].flatMap((k) => [`<${k.token}>`, `</${k.token}>`]);
}
