import { ApiError, CONFIGURATION, invalid, showShort } from '@app/serving';
import { Inject, Injectable, type PipeTransform } from '@nestjs/common';
import type { Configuration } from '../configuration.js';
import { BYTES_TYPE, type Upload } from '../http/bodies.js';
import { pictureToPixels } from './picture.js';

const PIXEL = 'integers from 0 to 255';
/** Bytes of a picture, one per pixel. */
const PICTURE_BYTES = 784;

/** The bytes that the network reads: as they are, of 784 numbers in JSON, or of a picture file. */
@Injectable()
export class DigitPipe implements PipeTransform<Upload, Promise<Uint8Array>> {
  async transform({ type, bytes, signal }: Upload): Promise<Uint8Array> {
    if (type === BYTES_TYPE) {
      checkLength(bytes, bytes.length === PICTURE_BYTES, `${PICTURE_BYTES} bytes`);
      return pictureAt(bytes, 0);
    }
    if (type !== 'application/json') return pictureToPixels(bytes, { signal });
    return pixelsOf(propertyOf(parseJson(bytes), 'pixels'), 'pixels');
  }
}

/** The same of many pictures: their bytes one after the other, or JSON. */
@Injectable()
export class DigitsPipe implements PipeTransform<Upload, Uint8Array[]> {
  constructor(@Inject(CONFIGURATION) private readonly configuration: Configuration) {}

  transform({ type, bytes }: Upload): Uint8Array[] {
    const { maxImages } = this.configuration;
    if (type === BYTES_TYPE) {
      const count = bytes.length / PICTURE_BYTES;
      const most = maxImages * PICTURE_BYTES;
      const expected = `a multiple of ${PICTURE_BYTES} bytes, at most ${most} bytes`;
      checkLength(bytes, Number.isInteger(count) && count <= maxImages, expected);
      return Array.from({ length: count }, (_, index) => pictureAt(bytes, index));
    }
    const images = propertyOf(parseJson(bytes), 'images');
    if (!Array.isArray(images) || images.length < 1 || images.length > maxImages) {
      const expected = `an array of 1 to ${maxImages} arrays of 784 ${PIXEL}`;
      throw invalid([{ path: 'images', expected, received: showShort(images) }]);
    }
    return images.map((image, index) => pixelsOf(image, `images[${index}]`));
  }
}

function checkLength(bytes: Buffer, isRight: boolean, expected: string): void {
  if (bytes.length === 0)
    throw new ApiError(400, 'ERR_BODY_EMPTY', `expected ${expected}, got an empty body`);
  if (!isRight) throw invalid([{ path: 'the body', expected, received: `${bytes.length} bytes` }]);
}

/** A view, not a copy: the network's memory is filled from the body itself. */
function pictureAt({ buffer, byteOffset }: Buffer, index: number): Uint8Array {
  return new Uint8Array(buffer, byteOffset + index * PICTURE_BYTES, PICTURE_BYTES);
}

/** By hand: class-validator would take longer for 256 × 784 numbers than the network, and look at each twice. */
function pixelsOf(numbers: unknown, path: string): Uint8Array {
  if (!Array.isArray(numbers) || numbers.length !== 784) {
    throw invalid([{ path, expected: `an array of 784 ${PIXEL}`, received: showShort(numbers) }]);
  }
  const pixels = new Uint8Array(784);
  for (let i = 0; i < 784; i++) {
    const number: unknown = numbers[i];
    if (typeof number === 'number') pixels[i] = number;
    // A byte keeps no other number as it is.
    if (pixels[i] !== number) {
      const expected = 'an integer from 0 to 255';
      throw invalid([{ path: `${path}[${i}]`, expected, received: showShort(number) }]);
    }
  }
  return pixels;
}

function propertyOf(body: unknown, name: string): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw invalid([{ path: 'the body', expected: `an object with ${name}`, received: showShort(body) }]);
  }
  return Object.hasOwn(body, name) ? (body as Record<string, unknown>)[name] : undefined;
}

/**
 * Of JSON in UTF-8, and with nothing in it that UTF-8 cannot hold. Here, so that Express and Fastify answer alike: theirs
 * take half a surrogate pair in an escape, replace what is not UTF-8, and word their errors in their own ways.
 */
function parseJson(bytes: Buffer): unknown {
  if (bytes.length === 0) throw new ApiError(400, 'ERR_BODY_EMPTY', 'expected JSON, got an empty body');
  try {
    const text = utf8.decode(bytes);
    // Most bodies have no such escape, and are not gone through once more.
    return JSON.parse(text, /\\u[dD][89a-fA-F]/.test(text) ? checkText : undefined);
  } catch (error) {
    throw new ApiError(400, 'ERR_BODY_NOT_JSON', `the body is not JSON: ${(error as Error).message}`);
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function checkText(name: string, value: unknown): unknown {
  for (const text of [name, value]) {
    if (typeof text === 'string' && /\p{Surrogate}/u.test(text)) throw new Error('half a surrogate pair');
  }
  return value;
}
