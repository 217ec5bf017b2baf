import { type ReactNode, useEffect, useRef, useState } from 'react';

interface ScrollerProps {
  /** what is in it, for those who come to it by keyboard */
  label: string;
  className?: string;
  children: ReactNode;
}

/** A table that may be wider than the page: where it is, its edge fades out towards what is hidden, and the keyboard can reach and move it. */
export function Scroller({ label, className = '', children }: ScrollerProps) {
  const box = useRef<HTMLElement>(null);
  const [wide, setWide] = useState(false);
  const [more, setMore] = useState(false);
  useEffect(() => {
    const node = box.current;
    if (node === null) return;
    const look = (): void => {
      setWide(node.scrollWidth > node.clientWidth + 1);
      setMore(node.scrollLeft + node.clientWidth < node.scrollWidth - 1);
    };
    const watch = new ResizeObserver(look);
    watch.observe(node);
    for (const child of node.children) watch.observe(child);
    node.addEventListener('scroll', look, { passive: true });
    return () => {
      watch.disconnect();
      node.removeEventListener('scroll', look);
    };
  }, []);
  return (
    <section
      ref={box}
      className={`scroller ${more ? 'fades' : ''} ${className}`}
      {...(wide ? { tabIndex: 0, 'aria-label': `${label}, wider than the page` } : {})}
    >
      {children}
    </section>
  );
}
