import { createHash } from 'node:crypto';
import { expect, it } from '@jest/globals';
import { plainToInstance } from 'class-transformer';
import { validateSync } from 'class-validator';
import { AddMember } from './member.js';
import { sampleMembers } from './sample-members.js';

const all = [...sampleMembers(100_000)];

it('makes the same members each time', () => {
  expect(all.slice(0, 2)).toEqual([
    { name: 'Lina Becker', email: 'lina.becker.1@example.org', city: 'Bologna', born: 1982, joined: 2025 },
    { name: 'Felix Walker', email: 'felix.walker.2@example.org', city: 'Brno', born: 1942, joined: 2004 },
  ]);
  expect(createHash('sha256').update(JSON.stringify(all)).digest('hex')).toBe(
    '00cebac43695b9bedf34daa2516619bc4ab5fcb590a4c6d921653ee43a488cb5',
  );
  expect([...sampleMembers(10)]).toEqual(all.slice(0, 10));
});

it('gives each an address of their own', () => {
  expect(new Set(all.map(({ email }) => email)).size).toBe(100_000);
});

it('makes members that the application would take', () => {
  for (const { joined, ...body } of all) {
    expect(validateSync(plainToInstance(AddMember, body))).toEqual([]);
    if (joined - body.born < 6 || joined - body.born > 120)
      throw new Error(`${body.email} has no age to join at`);
  }
});
