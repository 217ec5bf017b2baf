// Columns whose names say that they hold what came of showing a POI. As a feature, such a column would give the label away.

/** What the name of a column says happened: a click, an order, something else that follows from being shown. */
export type OutcomeKind = 'click' | 'order' | 'other';

/** A word of these anywhere in a name says so. */
const anywhere: [OutcomeKind, RegExp][] = [
  ['click', /^(click(s|ed|ing)?|clk|(an)?geklickt|klicks?|angetippt|cliques?|clics?|clicado|clicou|cliccato)$/],
  [
    'order',
    /^(order(s|ed)?|purchas(e|es|ed)|buys?|bought|paid|conver(t|ts|ted|sions?)|conv|checkouts?|book(ed|ings?)|reserved|reservations?|transacted|gekauft|bestellt|bestellung(en)?|gebucht|buchung(en)?|bezahlt|reserviert|beworben|abgeschlossen|achats?|achetee?|commandes?|commandee?|compras?|comprado|pedidos?|pagado|reservado)$/,
  ],
  [
    'other',
    /^(outcome|reward|cart|basket|redeem(ed)?|redemptions?|(un)?subscribed|installed|installs|signup|registered|churn(ed)?|liked|disliked|upvoted|downvoted|favou?rited|bookmarked|wishlisted|shared|followed|commented|replied|responded|accepted|declined|completed|refunded|returned|rated|reviewed|watched|listened|gemerkt|geteilt|gespeichert|abonniert|favorisiert|storniert|zuruckgegeben)$/,
  ],
];

/** These say so only where nothing else of weight is in the name: a price of shares and a group that is a target are no outcomes. */
const alone: [OutcomeKind, RegExp][] = [
  ['click', /^(open|opens|opened|tap|taps|tapped)$/],
  ['order', /^(pay|pays|book|reserve|transactions?|applied|kauf|kaufe)$/],
  [
    'other',
    /^(label|target|y|response|result|likes?|dislikes?|shares?|follows?|saves?|saved|fav|favs|favou?rites?|bookmarks?|wishlist|comments?|replies|subscribe|register|install|redeems|skips?|skipped|selected|chosen|choice|ergebnis|resultat|resultado|risultato|reponse|antwort|reaktion|geoffnet|angesehen|gefallt|ausgewahlt|me gusta|plays?|played|listens?|downloads?|downloaded|visited|finished|success|converted|engaged|engagement)$/,
  ],
];

/** Words that stand beside what is meant: "is_saved", "num_likes", "user_liked_flag". */
const beside =
  /^(is|was|has|did|if|user|num|n|no|number|of|the|count|cnt|total|sum|flag|ind|indicator|bool|label|event|to|add|added|\d+[hdwmy]?|d|h|days?|hours?)$/;

/** Chinese is written without blanks: these are looked for wherever they stand. */
const inChinese: [OutcomeKind, RegExp][] = [
  ['click', /点击|點擊/],
  ['order', /下单|下單|购买|購買|成交|转化|轉化|支付|付款|订单|訂單|预订|預訂/],
  ['other', /收藏|加购|点赞|分享|核销|关注|结果|結果/],
];

/** A name with such a word counts what was before the event. */
const before =
  /^(past|prev|previous|previously|last|hist|history|historic|historical|prior|before|earlier|lifetime|since|recency|avg|average|mean|median)$/;
const beforeInChinese = /历史|歷史|过去|過去|累计|累計|上次|最近|之前|近\d*[天日周月]|平均/;

/** The words of a name, in lower case and without accents, however they are joined. */
function wordsOfName(name: string): string[] {
  return name
    .replace(/(\p{Ll}|\d)(\p{Lu})/gu, '$1 $2')
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '');
}

/** Which outcome a column is named for; null where its name is not that of one. */
export function outcomeNamed(name: string): OutcomeKind | null {
  const words = wordsOfName(name);
  const said = words.filter((word) => !beside.test(word));
  const only = said.length > 0 ? said : words;
  for (const [kind, pattern] of anywhere) if (words.some((word) => pattern.test(word))) return kind;
  for (const [kind, pattern] of alone) if (only.length > 0 && only.every((word) => pattern.test(word))) return kind;
  for (const [kind, pattern] of inChinese) if (pattern.test(name)) return kind;
  return null;
}

/** Words that say, alone, that a text is what came of the event: "Ergebnis", "application outcome". */
const verdict =
  /^(outcome|result|response|reaction|verdict|ergebnis|resultat|resultado|risultato|reponse|antwort|reaktion)$/;

/** Whether a column's name says that something happened and nothing else: "geklickt?", "was it ordered"; not "order_kind". */
export function saysOnlyOutcome(name: string): boolean {
  const words = wordsOfName(name).filter((word) => !beside.test(word));
  return words.length > 0 && words.every((word) => outcomeNamed(word) !== null);
}

/** Whether texts of so named a column, of whatever values, are what came of the event: "Ergebnis", "click_result". */
export function saysResult(name: string): boolean {
  const words = wordsOfName(name);
  return (saysOnlyOutcome(name) && words.some((word) => verdict.test(word))) || /(结果|結果)$/.test(name.trim());
}

/** Whether a column's name says that it counts what was before the event: "past_orders", "last_click_days". */
export function saysBefore(name: string): boolean {
  return wordsOfName(name).some((word) => before.test(word)) || beforeInChinese.test(name);
}
