import { ApiError, type DocumentedError, invalid } from '@app/serving';
import { MOST_IMAGES } from './configuration.js';
import { BYTES_TYPE, PICTURE_TYPES } from './http/bodies.js';

/** The errors of each route for the reference, with examples. `test/reference.e2e.spec.ts` provokes them and compares. */

const [JSON_TYPE, PIXELS] = ['application/json', '784 integers from 0 to 255'];

function error(
  when: string,
  ...[status, code, message, details]: [status: number, code: string, message: string, details?: unknown]
): DocumentedError {
  return { when, example: new ApiError(status, code, message, { details }) };
}

function notAsDescribed(path: string, expected: string, received: string): DocumentedError {
  return {
    when: 'Something is not what the schema says.',
    example: invalid([{ path, expected, received }]),
  };
}

/** Of every route with a body. */
function bodyErrors(types: readonly string[], limit: number): DocumentedError[] {
  const expectedType = `expected a body with Content-Type ${types.join(', ')}, uncompressed; got text/plain`;
  const expectedSize = `expected a body of at most ${limit} bytes, got ${limit + 1}`;
  const tooMany = 'bodies of other requests have 128000000 bytes together, as many as this server holds';
  const tooSlow = 'expected the whole body within 30000 ms';
  return [
    error('The body did not arrive in time.', 408, 'ERR_BODY_TIMEOUT', tooSlow, { limit: 30_000 }),
    error('The body has too many bytes.', 413, 'ERR_BODY_TOO_LARGE', expectedSize, { limit }),
    error('The body has no type that is taken.', 415, 'ERR_BODY_TYPE', expectedType, { accepted: types }),
    error('The bodies of all requests have too many bytes.', 503, 'ERR_BODIES_FULL', tooMany, {
      limit: 128_000_000,
    }),
  ];
}

const jsonErrors = [
  error('The body is empty.', 400, 'ERR_BODY_EMPTY', 'expected JSON, got an empty body'),
  error(
    'The body is no JSON, or not UTF-8.',
    400,
    'ERR_BODY_NOT_JSON',
    'the body is not JSON: Unexpected token \'s\', "seven" is not valid JSON',
  ),
];

/** Of every route that takes a picture of at most so many pixels. */
function pictureErrors(pixels: number, size: string): DocumentedError[] {
  const scans = 'expected a JPEG picture of at most 100 scans, got 101; saved again, it has about ten';
  return [
    error(
      'The picture has no bytes.',
      400,
      'ERR_PICTURE_EMPTY',
      'expected a PNG, JPEG, WebP or GIF picture, got 0 bytes',
    ),
    error(
      'The picture has too many pixels.',
      413,
      'ERR_PICTURE_TOO_LARGE',
      `expected a picture of at most ${size}`,
      { limit: pixels },
    ),
    error(
      'The file is of another format.',
      422,
      'ERR_PICTURE_FORMAT',
      'expected a PNG, JPEG, WebP or GIF picture, got data that begins with the bytes 3c7376672f3e',
    ),
    error(
      'The file is damaged.',
      422,
      'ERR_PICTURE_BROKEN',
      'expected a whole PNG, JPEG, WebP or GIF picture, got 8 bytes that cannot be decoded',
    ),
    error('The JPEG has too many scans.', 422, 'ERR_PICTURE_SCANS', scans, { limit: 100 }),
    error(
      'The picture takes too long to decode.',
      422,
      'ERR_PICTURE_TOO_SLOW',
      'expected a picture that is decoded within 5000 ms, got one that takes longer',
      { limit: 5000 },
    ),
    error(
      'Other pictures took too long to decode.',
      504,
      'ERR_BATCHING_TIMEOUT',
      'pictures gave no result in time',
    ),
  ];
}

/** Of every route whose inputs wait in a queue. */
function queueErrors(queue: string): DocumentedError[] {
  return [
    error('Too many inputs wait already.', 503, 'ERR_BATCHING_FULL', `${queue} is full`),
    error('The server is shutting down.', 503, 'ERR_BATCHING_STOPPED', `${queue} was stopped`),
  ];
}

/** Of every route that reads digits. */
const deadlineErrors = [
  error(
    'No result is expected in time.',
    503,
    'ERR_BATCHING_DEADLINE',
    'DigitClassifier.classify would take longer than the time allowed',
  ),
  error(
    'There was no result in time.',
    504,
    'ERR_BATCHING_TIMEOUT',
    'DigitClassifier.classify gave no result in time',
  ),
];

export const digitErrors = [
  notAsDescribed('pixels', `an array of ${PIXELS}`, 'nothing'),
  ...jsonErrors,
  ...bodyErrors([JSON_TYPE, BYTES_TYPE, ...PICTURE_TYPES], 32_000),
  ...pictureErrors(16_000_000, '16000000 pixels, got 16000×16000'),
  error(
    'The picture shows nothing, or more than one thing.',
    422,
    'ERR_PICTURE_BLANK',
    'expected a digit that stands out from its background, got a difference of at most 0 of 255 on a background that varies by 0',
  ),
  ...queueErrors('DigitClassifier.classify'),
  ...deadlineErrors,
];

export const manyDigitsErrors = [
  notAsDescribed('images', `an array of 1 to ${MOST_IMAGES} arrays of ${PIXELS}`, 'an empty array'),
  ...jsonErrors,
  ...bodyErrors([JSON_TYPE, BYTES_TYPE], 1_500_000),
  ...queueErrors('DigitClassifier.classify'),
  ...deadlineErrors,
];

export const sampleErrors = [notAsDescribed('count', 'an integer from 1 to 1000', '0')];

export const photoErrors = [
  ...bodyErrors(PICTURE_TYPES, 9_000_000),
  ...pictureErrors(1_000_000, '1000000 pixels, where a side below 84 counts as 84, got 16000×16000'),
  error('As many photos as may be are in progress.', 503, 'ERR_BATCHING_FULL', 'PhotoUpscaler is full'),
  error('The server is shutting down.', 503, 'ERR_BATCHING_STOPPED', 'TileUpscaler.upscale was stopped'),
];

export const raceErrors = [
  notAsDescribed('callers', 'an integer from 64 to 256', '1'),
  {
    when: 'Another race is run.',
    example: new ApiError(409, 'ERR_RACE_RUNNING', 'another race is run, for about 4 s more', {
      details: { seconds: 4 },
      retryAfter: 4,
    }),
  },
  error('The server is shutting down.', 503, 'ERR_STOPPING', 'the server is shutting down'),
];

export const liveErrors = [
  error(
    'As many live views as may be are open.',
    503,
    'ERR_TOO_MANY_VIEWERS',
    '100 live views are open, as many as may be',
  ),
];

const hangs = 'the worker has been silent for 30000 ms';

export const livenessErrors = [
  error('The inference worker hangs and cannot be ended.', 503, 'ERR_NOT_LIVE', `Not live: ${hangs}.`, {
    worker: { status: 'down', message: hangs },
  }),
];

export const readinessErrors = [
  error(
    'It is starting or shutting down, a queue takes no inputs, or no worker runs.',
    503,
    'ERR_NOT_READY',
    'Not ready: it is shutting down.',
    { server: { status: 'down', message: 'it is shutting down' } },
  ),
];
