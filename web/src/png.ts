/** PNG: what tiles hold is read (docs/SPEC.md, sections 11 and 13), what browsers are to show is written, fast. */
import { ascii, crc32, startsWith } from "./bytes.js";
import { Corrupt } from "./errors.js";

const SIGNATURE = ascii("\x89PNG\r\n\x1a\n");
const OTHER_COPY = "get another copy of the file";
/** First column and row of each pass of Adam7, and the steps between its samples. */
const PASSES: [number, number, number, number][] = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

/** Big-endian. */
function number(data: Uint8Array, at: number): number {
  return new DataView(data.buffer, data.byteOffset + at, 4).getUint32(0);
}

/**
 * Samples of a PNG of 8 bits, grey (1 channel) or RGB (3), that must have exactly this size.
 *
 * @param what named in errors
 * @throws Corrupt it is none; nothing of its size is allocated before that is known
 */
export async function readPng(
  data: Uint8Array,
  width: number,
  height: number,
  channels: 1 | 3,
  interlaced: boolean,
  what: string,
): Promise<Uint8Array> {
  const refused = (why: string) => new Corrupt(`${what} cannot be read: ${why}; ${OTHER_COPY}`);
  const ihdr = startsWith(data, SIGNATURE) && startsWith(data, ascii("\0\0\0\rIHDR"), 8) && data.length >= 33;
  if (!ihdr) throw refused("it is no PNG");
  const [depth, colour, compression, filter, interlace] = data.subarray(24, 29);
  if (number(data, 16) !== width || number(data, 20) !== height)
    throw refused(`it has ${number(data, 16)}x${number(data, 20)} pixels instead of ${width}x${height}`);
  if (depth !== 8 || colour !== (channels === 1 ? 0 : 2) || compression || filter || interlace! > +interlaced)
    throw refused("it is not of the kind that the header announces");
  const parts: Uint8Array[] = [];
  let ended = false;
  for (let at = 8; at + 12 <= data.length && !ended; ) {
    const length = number(data, at);
    const kind = String.fromCharCode(...data.subarray(at + 4, at + 8));
    if (at + 12 + length > data.length) throw refused("it ends early");
    const critical = (data[at + 4]! & 32) === 0;
    if (critical && crc32(data.subarray(at + 4, at + 8 + length)) !== number(data, at + 8 + length))
      throw refused(`the checksum of its part ${kind} is wrong`);
    if (kind === "IDAT") parts.push(data.subarray(at + 8, at + 8 + length));
    ended = kind === "IEND";
    at += 12 + length;
  }
  const passes = interlace ? PASSES : ([[0, 0, 1, 1]] as [number, number, number, number][]);
  const sides = passes.map(([x, y, dx, dy]): [number, number] => [Math.ceil((width - x) / dx), Math.ceil((height - y) / dy)]);
  const bytes = sides.reduce((sum, [w, h]) => sum + (w > 0 && h > 0 ? h * (1 + w * channels) : 0), 0);
  let raw: Uint8Array;
  try {
    raw = await inflate(parts, bytes);
  } catch (error) {
    throw refused(error instanceof Error ? error.message : String(error));
  }
  const out = new Uint8Array(width * height * channels);
  let at = 0;
  passes.forEach(([x, y, dx, dy], pass) => {
    const [w, h] = sides[pass]!;
    if (w <= 0 || h <= 0) return;
    const lines = raw.subarray(at, at + h * (1 + w * channels));
    if (!unfilter(lines, w * channels, channels)) throw refused("a line has an unknown filter");
    at += lines.length;
    for (let row = 0; row < h; row++) {
      const from = row * (1 + w * channels) + 1;
      const to = ((y + row * dy) * width + x) * channels;
      if (dx === 1) out.set(lines.subarray(from, from + w * channels), to);
      else for (let i = 0; i < w * channels; i++) out[to + Math.floor(i / channels) * dx * channels + (i % channels)] = lines[from + i]!;
    }
  });
  return out;
}

/** Inflate exactly so many bytes. */
async function inflate(parts: Uint8Array[], bytes: number): Promise<Uint8Array> {
  const stream = new Blob(parts as BlobPart[]).stream().pipeThrough(new DecompressionStream("deflate"));
  const reader = stream.getReader();
  const out = new Uint8Array(bytes);
  let at = 0;
  while (at < bytes) {
    const { value, done } = await reader.read();
    if (done) throw new Error("its pixels end early");
    out.set(value.subarray(0, bytes - at), at);
    at += value.length;
  }
  reader.cancel().catch(() => {});
  return out;
}

/** Undo the filters of lines, in place; false if one is unknown. */
function unfilter(lines: Uint8Array, length: number, step: number): boolean {
  const height = lines.length / (length + 1);
  for (let row = 0; row < height; row++) {
    const at = row * (length + 1) + 1;
    const up = at - length - 1;
    const kind = lines[at - 1]!;
    if (kind > 4) return false;
    for (let i = 0; i < length && kind; i++) {
      const left = i >= step ? lines[at + i - step]! : 0;
      const above = row ? lines[up + i]! : 0;
      let guess = kind === 1 ? left : kind === 2 ? above : (left + above) >> 1;
      if (kind === 4) {
        const corner = row && i >= step ? lines[up + i - step]! : 0;
        const [a, b, c] = [Math.abs(above - corner), Math.abs(left - corner), Math.abs(left + above - 2 * corner)];
        guess = a <= b && a <= c ? left : b <= c ? above : corner;
      }
      lines[at + i]! += guess;
    }
  }
  return true;
}

/**
 * A PNG of RGBA samples that is not compressed: it is made in milliseconds, for an `<img>` on the same page.
 *
 * @param icc profile that the browser interprets the samples by
 */
export function writePng(data: Uint8ClampedArray, width: number, height: number, alpha: boolean, icc?: Uint8Array): Blob {
  const channels = alpha ? 4 : 3;
  const line = 1 + width * channels;
  const raw = new Uint8Array(line * height);
  for (let row = 0; row < height; row++) {
    const at = row * line + 1;
    const from = row * width * 4;
    if (alpha) raw.set(data.subarray(from, from + width * 4), at);
    else
      for (let i = 0, to = at; i < width * 4; i += 4) {
        raw[to++] = data[from + i]!;
        raw[to++] = data[from + i + 1]!;
        raw[to++] = data[from + i + 2]!;
      }
  }
  const head = new DataView(new ArrayBuffer(13));
  head.setUint32(0, width);
  head.setUint32(4, height);
  head.setUint8(8, 8);
  head.setUint8(9, alpha ? 6 : 2);
  const profile = icc ? chunk("iCCP", [ascii("icc\0\0"), ...stored(icc)]) : chunk("sRGB", [new Uint8Array(1)]);
  const parts = [SIGNATURE, ...chunk("IHDR", [new Uint8Array(head.buffer)]), ...profile];
  return new Blob([...parts, ...chunk("IDAT", stored(raw)), ...chunk("IEND", [])] as BlobPart[], { type: "image/png" });
}

function chunk(kind: string, parts: Uint8Array[]): Uint8Array[] {
  const frame = new DataView(new ArrayBuffer(8));
  frame.setUint32(
    0,
    parts.reduce((sum, part) => sum + part.length, 0),
  );
  new Uint8Array(frame.buffer).set(ascii(kind), 4);
  let crc = crc32(new Uint8Array(frame.buffer, 4));
  for (const part of parts) crc = crc32(part, crc);
  const end = new DataView(new ArrayBuffer(4));
  end.setUint32(0, crc);
  return [new Uint8Array(frame.buffer), ...parts, new Uint8Array(end.buffer)];
}

/** A zlib stream of blocks that are stored as they are (RFC 1950 and 1951). */
function stored(data: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [Uint8Array.of(0x78, 0x01)];
  let [a, b] = [1, 0];
  for (let at = 0; at === 0 || at < data.length; at += 65_535) {
    const block = data.subarray(at, at + 65_535);
    const { length } = block;
    const last = at + 65_535 >= data.length ? 1 : 0;
    parts.push(Uint8Array.of(last, length & 255, length >> 8, ~length & 255, (~length >> 8) & 255), block);
    for (let i = 0; i < length; ) {
      const end = Math.min(i + 3800, length);
      for (; i < end; i++) b += a += block[i]!;
      a %= 65_521;
      b %= 65_521;
    }
  }
  parts.push(Uint8Array.of(b >> 8, b & 255, a >> 8, a & 255));
  return parts;
}
