import { describe, expect, it } from '@jest/globals';
import { joinAnswers, splitAnswers } from './answer-frames.js';

describe('frames of answers', () => {
  it('carry many answers, also empty ones', () => {
    const answers = ['one', '', 'three'].map((text) => Buffer.from(text));
    expect([...splitAnswers(joinAnswers(answers))].map(String)).toEqual(['one', '', 'three']);
  });

  it('leave out what is cut off', () => {
    const bytes = joinAnswers([Buffer.from('one'), Buffer.from('two')]);
    expect([...splitAnswers(bytes.subarray(0, -1))].map(String)).toEqual(['one']);
    expect([...splitAnswers(bytes.subarray(0, 2))]).toEqual([]);
  });
});
