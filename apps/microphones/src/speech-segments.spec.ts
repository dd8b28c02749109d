import { describe, expect, it } from '@jest/globals';
import { type Segment, SpeechSegments } from './speech-segments.js';

/** A second has ten frames here. */
function segmentsOf(probabilities: readonly number[]): Segment[] {
  const segments = new SpeechSegments(0.1);
  return probabilities.map((speech) => segments.next(speech)).filter((segment) => segment !== undefined);
}

describe('SpeechSegments', () => {
  it('begins a segment above 0.5, keeps it above 0.35, and ends it after silence, at the start of the silence', () => {
    expect(segmentsOf([0, 0.4, 0.6, 0.4, 0.9, 0.1, 0.1, 0])).toEqual([{ from: 0.2, to: 0.5 }]);
  });

  it('does not end a segment in a pause that is shorter than its silence', () => {
    expect(segmentsOf([0.9, 0.9, 0.1, 0.9, 0, 0])).toEqual([{ from: 0, to: 0.4 }]);
  });

  it('drops what is too short to be speech', () => {
    expect(segmentsOf([0.9, 0.9, 0, 0, 0])).toEqual([]);
  });
});
