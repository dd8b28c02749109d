import { Integer, invalid, toNumber } from '@app/serving';
import { applyDecorators } from '@nestjs/common';
import { Transform } from 'class-transformer';
import { ArrayMaxSize, IsArray, IsInt, IsNumber, IsString, Max, MaxLength, Min } from 'class-validator';
import { normalize, unknownCharacters, VOCABULARY } from './alphabet.js';
import type { Order } from './writer.js';

export const MOST_PROMPT = 200;
export const MOST_LENGTH = 2000;
const MOST_SEED = 2 ** 32 - 1;
/** Most texts that join with one request. */
export const MOST_CROWD = 256;

/** What a visitor asks for. */
export class Writing {
  @IsString({ message: promptRule() })
  @MaxLength(MOST_PROMPT, { message: promptRule() })
  readonly prompt: string = '';
  @Temperature() readonly temperature: number = 0.7;
  /** Default: drawn, and said in the first event. */
  @Integer(0, MOST_SEED) readonly seed: number = Math.floor(Math.random() * 2 ** 32);
  /** Characters to write. */
  @Integer(1, MOST_LENGTH) readonly length: number = 400;
}

/** Texts that join a wall. */
export class Crowd extends Writing {
  @Integer(1, MOST_CROWD) readonly count: number = 1;
}

/** Texts that leave a wall. */
export class Departure {
  @IsArray({ message: 'an array of the numbers of texts' })
  @ArrayMaxSize(10_000, { message: 'an array of at most 10000 numbers' })
  @IsInt({ each: true, message: 'an array of the numbers of texts' })
  readonly numbers: number[] = [];
}

/** How both kinds of batches are raced. */
export class RaceCall {
  /** Texts that are written at the same time. */
  @Integer(1, MOST_CROWD) readonly streams: number = 64;
  /** Texts in all. */
  @Integer(1, 1000) readonly texts: number = 128;
  @Integer(0, MOST_SEED) readonly seed: number = 1;
}

/** @throws {ApiError} 400 for a prompt with characters that the network does not know */
export function orderOf({ prompt, temperature, seed, length }: Writing): Order {
  const normalized = normalize(prompt);
  const unknown = unknownCharacters(normalized);
  if (unknown.length === 0) return { prompt: normalized, temperature, seed, length };
  const shown = unknown.slice(0, 10).map((character) => JSON.stringify(character));
  throw invalid([
    {
      path: 'prompt',
      expected: `characters that the network has learned, ${JSON.stringify(VOCABULARY)}`,
      received: shown.join(', ') + (unknown.length > shown.length ? ', …' : ''),
    },
  ]);
}

function promptRule(): string {
  return `a text of at most ${MOST_PROMPT} characters`;
}

function Temperature(): PropertyDecorator {
  const message = 'a number from 0 to 2';
  return applyDecorators(
    Transform(({ value }) => toNumber(value)),
    IsNumber({}, { message }),
    Min(0, { message }),
    Max(2, { message }),
  );
}
