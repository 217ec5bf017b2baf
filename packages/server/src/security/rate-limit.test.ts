import { expect, it } from 'vitest';
import { RateLimit, senderOf } from './rate-limit.js';

it('lets twice the rate come at once, then the rate, and says how long to wait', () => {
  let now = 0;
  const limit = new RateLimit(() => now);
  const taken = (count: number): number =>
    Array.from({ length: count }, () => limit.take('a', 10)).filter((wait) => wait === 0).length;
  expect(taken(100)).toBe(20);
  expect(limit.take('b', 10)).toBe(0);
  now = 1000;
  expect(taken(100)).toBe(10);
  now = 1_000_000;
  expect(taken(100)).toBe(20);
  // one every ten seconds: what is asked again after the wait is answered
  expect([limit.take('slow', 0.1), limit.take('slow', 0.1)]).toEqual([0, 10]);
  now += 9_900;
  expect(limit.take('slow', 0.1)).toBe(1);
  now += 1000;
  expect(limit.take('slow', 0.1)).toBe(0);
});

it('remembers so many senders and no more, and forgets the one that was heard least lately', () => {
  const limit = new RateLimit(() => 0, 3);
  for (const sender of ['a', 'b', 'c']) while (limit.take(sender, 1) === 0);
  limit.take('a', 1);
  limit.take('d', 1);
  expect(limit.senders).toBe(3);
  expect(limit.take('a', 1)).toBe(1);
  expect(limit.take('b', 1)).toBe(0);
});

it('takes an IPv4 address for one sender, and of IPv6 what a subscriber has', () => {
  expect(senderOf('203.0.113.7')).toBe('203.0.113.7');
  expect(senderOf('::ffff:203.0.113.7')).toBe('203.0.113.7');
  expect(senderOf('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::/64');
  expect(senderOf('2001:db8::1')).toBe('2001:db8:0:0::/64');
  expect(senderOf('2001:db8::2:1')).toBe(senderOf('2001:db8::ffff'));
  expect(senderOf('2001:db8:0:1::1')).not.toBe(senderOf('2001:db8::1'));
  expect(senderOf('fe80::1%eth0')).toBe('fe80:0:0:0::/64');
  expect(senderOf('::1')).toBe('0:0:0:0::/64');
});
