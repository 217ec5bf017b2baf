import { type RefObject, useLayoutEffect, useRef } from 'react';

const MOVE_MS = 460;
const EASING = 'cubic-bezier(.2, .75, .2, 1)';

/**
 * Lets the rows of a list glide to their new places when `order` changes, and new ones fade in: each is put where it was before the browser
 * draws, and let go (FLIP). Who asked for less motion sees the new order at once.
 * @param list its children carry `data-id`
 */
export function useReorder(list: RefObject<HTMLElement | null>, order: readonly string[]): void {
  const places = useRef(new Map<string, number>());
  const known = useRef('');
  const key = order.join('\n');

  useLayoutEffect(() => {
    const rows = [...(list.current?.children ?? [])] as HTMLElement[];
    const before = places.current;
    const now = new Map(rows.map((row) => [row.dataset.id ?? '', row.offsetTop]));
    const moves =
      known.current !== '' && known.current !== key && !window.matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (moves) {
      for (const row of rows) {
        const from = before.get(row.dataset.id ?? '');
        const to = row.offsetTop;
        // What is on its way already goes on from where it is seen.
        const seen = new DOMMatrixReadOnly(getComputedStyle(row).transform).m42;
        for (const animation of row.getAnimations()) animation.cancel();
        if (from === undefined) {
          row.animate([{ opacity: 0 }, { opacity: 1 }], { duration: MOVE_MS, easing: 'ease-out' });
        } else if (from + seen !== to) {
          row.animate([{ transform: `translateY(${from + seen - to}px)` }, { transform: 'none' }], {
            duration: MOVE_MS,
            easing: EASING,
          });
        }
      }
    }
    places.current = now;
    known.current = key;
  });
}
