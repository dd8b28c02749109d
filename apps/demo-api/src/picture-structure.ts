/** What a file says about itself, read without decoding anything: in one pass, whatever its bytes are. */
export interface PictureStructure {
  /** 0 where the file does not say. */
  readonly width: number;
  readonly height: number;
  /** Passes over the picture that decoding takes: of a JPEG its scans, of a PNG 1. */
  readonly scans: number;
  /** The file without what the decoder would read, and even unpack, although the picture does not need it. */
  readonly file: Buffer;
}

const PNG_SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');

/** @returns `undefined` for what is neither PNG nor JPEG, by its signature */
export function structureOf(file: Buffer): PictureStructure | undefined {
  if (file.subarray(0, 8).equals(PNG_SIGNATURE)) return pngStructure(file);
  if (file.subarray(0, 3).equals(Buffer.from('ffd8ff', 'hex'))) return jpegStructure(file);
  return undefined;
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
