import type { SchemaObject } from '@nestjs/swagger';
import { CheckedSchema } from '../json-schema.js';

/** A picture as numbers, row by row. */
export const pixelsSchema = {
  type: 'array',
  minItems: 784,
  maxItems: 784,
  items: { type: 'integer', minimum: 0, maximum: 255 },
  description: '28 × 28 grey values, row by row: 0 is paper, 255 is ink',
} satisfies SchemaObject;

export const digitBodySchema = {
  type: 'object',
  required: ['pixels'],
  properties: { pixels: pixelsSchema },
} satisfies SchemaObject;

export function manyBodySchema(maxItems: number) {
  return {
    type: 'object',
    required: ['images'],
    properties: { images: { type: 'array', minItems: 1, maxItems, items: pixelsSchema } },
  } satisfies SchemaObject;
}

export const digitSchema = {
  type: 'object',
  required: ['digit', 'confidence', 'scores'],
  properties: {
    digit: { type: 'integer', minimum: 0, maximum: 9, description: 'What it was read as' },
    confidence: { type: 'number', minimum: 0, maximum: 1, description: 'The score of that digit' },
    scores: {
      type: 'array',
      minItems: 10,
      maxItems: 10,
      items: { type: 'number', minimum: 0, maximum: 1 },
      description: 'One per digit 0–9; together 1',
    },
  },
} satisfies SchemaObject;

export const sampleQuerySchema = {
  type: 'object',
  properties: {
    count: { type: 'integer', minimum: 1, maximum: 1000, default: 100 },
    seed: { type: 'integer', minimum: 0, maximum: 4_294_967_295, default: 0 },
  },
} satisfies SchemaObject;

export const sampleSchema = {
  type: 'object',
  required: ['pixels', 'label'],
  properties: {
    pixels: pixelsSchema,
    label: { type: 'integer', minimum: 0, maximum: 9, description: 'The digit that it shows' },
  },
} satisfies SchemaObject;

/** An upright stroke, which is read as a 1. */
export const examplePixels = Array.from({ length: 784 }, (_, i) => {
  const [x, y] = [i % 28, Math.floor(i / 28)];
  return (x === 13 || x === 14) && y >= 4 && y < 24 ? 255 : 0;
});

export const digitBody = new CheckedSchema<{ pixels: number[] }>(digitBodySchema, 'the body');
export const manyBody = (maxItems: number) =>
  new CheckedSchema<{ images: number[][] }>(manyBodySchema(maxItems), 'the body');
export const sampleQuery = new CheckedSchema<{ count: number; seed: number }>(
  sampleQuerySchema,
  'the query',
  {
    useDefaults: true,
  },
);
