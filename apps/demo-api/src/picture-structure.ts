/** What a file says about itself, read without decoding anything: in one pass, whatever its bytes are. */
export interface PictureStructure {
  /** 0 where the file does not say. */
  readonly width: number;
  readonly height: number;
  /** Passes over the picture that decoding takes: of a JPEG its scans, of others 1. */
  readonly scans: number;
  /**
   * The file without what the decoder would read, and even unpack, although the picture does not need it: of an animation
   * all frames but the first.
   */
  readonly file: Buffer;
}

const PNG_SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');

/** @returns `undefined` for what is no PNG, JPEG, WebP or GIF, by its signature */
export function structureOf(file: Buffer): PictureStructure | undefined {
  if (file.subarray(0, 8).equals(PNG_SIGNATURE)) return pngStructure(file);
  if (file.subarray(0, 3).equals(Buffer.from('ffd8ff', 'hex'))) return jpegStructure(file);
  if (isAscii(file, 0, 'RIFF') && isAscii(file, 8, 'WEBP')) return webpStructure(file);
  if (isAscii(file, 0, 'GIF87a') || isAscii(file, 0, 'GIF89a')) return gifStructure(file);
  return undefined;
}

function isAscii(file: Buffer, at: number, text: string): boolean {
  return file.toString('latin1', at, at + text.length) === text;
}

/**
 * The optional chunks that change how a PNG looks. All others are texts, times and the like: of texts that unpack to 8 MB
 * each, 770 KB take the decoder 14 s and 5 GB.
 */
const USEFUL_CHUNKS = new Set(['tRNS', 'gAMA', 'cHRM', 'sRGB', 'iCCP', 'sBIT', 'cICP', 'eXIf'].map(codeOf));
const [IHDR, IEND] = [codeOf('IHDR'), codeOf('IEND')];
/** Clear in the code of a chunk that a decoder has to understand. */
const OPTIONAL = 0x20_00_00_00;

function pngStructure(file: Buffer): PictureStructure {
  const useful = Buffer.allocUnsafe(file.length);
  let size = file.copy(useful, 0, 0, 8);
  let [width, height] = [0, 0];
  for (let at = 8, next: number; at < file.length; at = next) {
    // What is cut off stays as it is: the decoder refuses it.
    const whole = at + 12 <= file.length;
    const type = whole ? file.readUInt32BE(at + 4) : 0;
    next = whole ? at + 12 + file.readUInt32BE(at) : file.length;
    if (type === IHDR && at + 16 <= file.length) {
      width = file.readUInt32BE(at + 8);
      height = file.readUInt32BE(at + 12);
    }
    if ((type & OPTIONAL) === 0 || USEFUL_CHUNKS.has(type)) size += file.copy(useful, size, at, next);
    if (type === IEND) break;
  }
  return { width, height, scans: 1, file: useful.subarray(0, size) };
}

function codeOf(type: string): number {
  return Buffer.from(type).readUInt32BE();
}

/**
 * Goes from marker to marker as libjpeg does: what a segment holds (a preview with scans of its own, for example) is
 * passed over by the segment's length, the data of a scan by looking for the next marker.
 */
function jpegStructure(file: Buffer): PictureStructure {
  let [width, height, scans] = [0, 0, 0];
  for (let at = 2; ;) {
    while (at < file.length && file[at] !== 0xff) at++;
    // Any number of them may stand before a marker.
    while (file[at] === 0xff && file[at + 1] === 0xff) at++;
    const marker = file[at + 1];
    if (marker === undefined) break;
    at += 2;
    if (marker === END_OF_IMAGE) break;
    if (hasNoSegment(marker) || at + 2 > file.length) continue;
    if (marker === START_OF_SCAN) scans++;
    if (isStartOfFrame(marker) && at + 7 <= file.length) {
      height = file.readUInt16BE(at + 3);
      width = file.readUInt16BE(at + 5);
    }
    at += Math.max(2, file.readUInt16BE(at));
  }
  return { width, height, scans, file };
}

const [START_OF_IMAGE, END_OF_IMAGE, START_OF_SCAN] = [0xd8, 0xd9, 0xda];

/** A zero stands for a byte 0xff in a scan's data; the others are restarts of a scan, and what has no meaning. */
function hasNoSegment(marker: number): boolean {
  return marker <= 0x01 || (marker >= 0xd0 && marker <= START_OF_IMAGE);
}

/** 0xc0 to 0xcf, but for those that define tables or are reserved. */
function isStartOfFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
}

/**
 * Of the chunks those that a decoder of one still picture reads. The rest are texts, and further frames: to find one frame, a
 * decoder goes through all before it, so that some hundred thousand empty ones take it minutes.
 */
function webpStructure(file: Buffer): PictureStructure {
  const kept = [file.subarray(0, 12)];
  const size = { width: 0, height: 0 };
  let hasFrame = false;
  for (let at = 12, next: number; at + 8 <= file.length; at = next) {
    const type = file.toString('latin1', at, at + 4);
    const length = file.readUInt32LE(at + 4);
    // A chunk of an odd length is followed by a byte of padding.
    next = Math.min(file.length, at + 8 + length + (length % 2));
    if (!WEBP_CHUNKS.has(type) || (type === 'ANMF' && hasFrame)) continue;
    hasFrame ||= type === 'ANMF';
    const chunk = file.subarray(at, next);
    kept.push(chunk);
    growToChunk(size, type, chunk.subarray(8));
  }
  const whole = Buffer.concat(kept);
  // The length of all chunks, if the file has as many bytes as it says: what is cut off stays so, and the decoder refuses it.
  if (file.length >= 12 && file.readUInt32LE(4) + 8 <= file.length) whole.writeUInt32LE(whole.length - 8, 4);
  return { ...size, scans: 1, file: whole };
}

const WEBP_CHUNKS = new Set(['VP8X', 'ICCP', 'ANIM', 'ANMF', 'ALPH', 'VP8 ', 'VP8L', 'EXIF']);

/** Makes the size as large as a chunk says: the canvas, a frame, and the picture in it may each say another one. */
function growToChunk(size: { width: number; height: number }, type: string, data: Buffer): void {
  const grow = (width: number, height: number) => {
    size.width = Math.max(size.width, width);
    size.height = Math.max(size.height, height);
  };
  switch (type) {
    case 'VP8X':
      if (data.length >= 10) grow(1 + data.readUIntLE(4, 3), 1 + data.readUIntLE(7, 3));
      break;
    case 'ANMF':
      if (data.length >= 12) grow(1 + data.readUIntLE(6, 3), 1 + data.readUIntLE(9, 3));
      for (let at = 16; at + 8 <= data.length;) {
        const length = data.readUInt32LE(at + 4);
        const end = at + 8 + length + (length % 2);
        const inner = data.toString('latin1', at, at + 4);
        // No frame stands in another one.
        if (inner !== 'ANMF') growToChunk(size, inner, data.subarray(at + 8, end));
        at = end;
      }
      break;
    case 'VP8 ':
      // Behind three bytes of a frame's head and three of a start code.
      if (data.length >= 10) grow(data.readUInt16LE(6) & 0x3fff, data.readUInt16LE(8) & 0x3fff);
      break;
    case 'VP8L':
      if (data.length >= 5) {
        const bits = data.readUInt32LE(1);
        grow(1 + (bits & 0x3fff), 1 + ((bits >> 14) & 0x3fff));
      }
  }
}

const [GIF_EXTENSION, GIF_FRAME, GIF_END, GIF_TRANSPARENCY] = [0x21, 0x2c, 0x3b, 0xf9];

/** Up to the end of the first frame, with what says which of its colours is transparent. */
function gifStructure(file: Buffer): PictureStructure {
  if (file.length < 13) return { width: 0, height: 0, scans: 1, file };
  let [width, height] = [file.readUInt16LE(6), file.readUInt16LE(8)];
  let at = 13 + coloursOf(file[10] ?? 0);
  const kept = [file.subarray(0, at)];
  while (at < file.length) {
    const begin = at;
    if (file[at] === GIF_EXTENSION) {
      at = endOfBlocks(file, at + 2);
      if (file[begin + 1] === GIF_TRANSPARENCY) kept.push(file.subarray(begin, at));
    } else if (file[at] === GIF_FRAME && at + 10 <= file.length) {
      width = Math.max(width, file.readUInt16LE(at + 1) + file.readUInt16LE(at + 5));
      height = Math.max(height, file.readUInt16LE(at + 3) + file.readUInt16LE(at + 7));
      // The least bits of a code stand between the frame's colours and its data.
      at = endOfBlocks(file, at + 10 + coloursOf(file[at + 9] ?? 0) + 1);
      kept.push(file.subarray(begin, at));
      if (at <= file.length) kept.push(Buffer.of(GIF_END));
      break;
    } else {
      // The end, or what is none of a GIF: without a frame the decoder refuses it.
      kept.push(file.subarray(at));
      break;
    }
  }
  return { width, height, scans: 1, file: Buffer.concat(kept) };
}

/** Bytes of the table of colours that these flags announce. */
function coloursOf(flags: number): number {
  return flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0;
}

/** Behind the blocks that begin there, each with its length in front, the last one of length 0; beyond the file if it is cut off. */
function endOfBlocks(file: Buffer, begin: number): number {
  let at = begin;
  for (let length = file[at]; length; length = file[at]) at += 1 + length;
  return at + 1;
}
