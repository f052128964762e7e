/** Tiles that hold a PNG, WebP or JPEG instead of latents (docs/SPEC.md, section 13). */
import { ascii, crc32, startsWith } from "./bytes.js";
import type { Tile } from "./container.js";
import { Corrupt, UnsupportedVersion } from "./errors.js";
import { type Box, type Header, isGrey } from "./header.js";
import { readPng } from "./png.js";

const MAX_SCANS = 100;
const WEBP_MAX_SIDE = 16_384;
const OTHER_COPY = "the file was damaged, or not made by tadan; get another copy";

/** RGBA samples of a picture file of browsers, as `decodeImage` gives them. */
export interface Samples {
  width: number;
  height: number;
  data: Uint8ClampedArray | Uint8Array;
}

/** Decodes WebP and JPEG; by itself the browser's own decoder. Node has none, so that a program may bring one. */
export type ImageDecoder = (file: Uint8Array, type: "image/webp" | "image/jpeg") => Promise<Samples>;

/**
 * Pixels of a stored tile, RGBA with alpha 255.
 *
 * @throws Corrupt the tile is no such picture, or does not match its checksum
 */
export async function storedPixels(header: Header, tile: Tile, box: Box, decodeImage: ImageDecoder): Promise<Uint8ClampedArray> {
  const [, , width, height] = box;
  const form = header.content.toUpperCase();
  if (header.content === "jpeg-file")
    throw new UnsupportedVersion("The file keeps a JPEG byte for byte, which needs Lepton; the service hands it out as JPEG.");
  if (header.content === "png") {
    const channels = isGrey(header) ? 1 : 3;
    const samples = await readPng(tile.words, width, height, channels, false, "the stored PNG picture");
    return checked(toRgba(samples, channels), tile, "png");
  }
  const begins = header.content === "webp" ? webpBegins : jpegBegins;
  if (!begins(tile.words, width, height, isGrey(header)))
    throw new Corrupt(`a tile is not the ${width}x${height} ${form} picture that the header announces: ${OTHER_COPY}`);
  const file = header.content === "webp" ? tile.words : bare(tile.words);
  let samples: Samples;
  try {
    samples = await decodeImage(file, header.content === "webp" ? "image/webp" : "image/jpeg");
  } catch (error) {
    if (error instanceof UnsupportedVersion) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new Corrupt(`the stored ${form} picture cannot be read (${why}): ${OTHER_COPY}`, { cause: error });
  }
  if (samples.width !== width || samples.height !== height)
    throw new Corrupt(`a tile holds a ${form} of ${samples.width}x${samples.height} pixels: ${OTHER_COPY}`);
  const { buffer, byteOffset, byteLength } = samples.data;
  return checked(new Uint8ClampedArray(buffer as ArrayBuffer, byteOffset, byteLength), tile, header.content);
}

/** Compare with the content CRC: of the samples, or of a JPEG itself, whose samples may differ by a level. */
function checked(rgba: Uint8ClampedArray, tile: Tile, form: string): Uint8ClampedArray {
  let crc = form === "jpeg" ? crc32(tile.words) : 0;
  if (form !== "jpeg") {
    const line = new Uint8Array(3 * 4096);
    for (let at = 0; at < rgba.length; at += 4 * 4096) {
      const end = Math.min(rgba.length, at + 4 * 4096);
      let to = 0;
      for (let i = at; i < end; i += 4) {
        line[to++] = rgba[i]!;
        line[to++] = rgba[i + 1]!;
        line[to++] = rgba[i + 2]!;
      }
      crc = crc32(line.subarray(0, to), crc);
    }
  }
  if (crc !== tile.contentCrc)
    throw new Corrupt(`the stored ${form.toUpperCase()} picture does not match its checksum: ${OTHER_COPY}`);
  return rgba;
}

function toRgba(samples: Uint8Array, channels: number): Uint8ClampedArray {
  const out = new Uint8ClampedArray((4 * samples.length) / channels);
  const [green, blue] = channels === 1 ? [0, 0] : [1, 2];
  for (let from = 0, to = 0; from < samples.length; from += channels, to += 4) {
    out[to] = samples[from]!;
    out[to + 1] = samples[from + green]!;
    out[to + 2] = samples[from + blue]!;
    out[to + 3] = 255;
  }
  return out;
}

/** Whether the file is the simple lossless layout: one VP8L chunk, whose first 28 bits after 0x2f are the size. */
function webpBegins(file: Uint8Array, width: number, height: number): boolean {
  if (Math.max(width, height) > WEBP_MAX_SIDE) return false;
  const size = ((width - 1) | ((height - 1) << 14)) >>> 0;
  const bytes = Uint8Array.of(0x2f, size & 255, (size >> 8) & 255, (size >> 16) & 255, size >>> 24);
  return startsWith(file, ascii("RIFF")) && startsWith(file, ascii("WEBPVP8L"), 8) && startsWith(file, bytes, 20);
}

/** Segments of a JPEG up to its first scan: marker, and where the segment begins and ends. */
function* segments(file: Uint8Array): Generator<[number, number, number]> {
  for (let at = 2; at + 4 <= file.length && file[at] === 0xff; ) {
    const marker = file[at + 1]!;
    const end = at + 2 + ((file[at + 2]! << 8) | file[at + 3]!);
    yield [marker, at, end];
    if (marker === 0xda) return;
    at = end;
  }
}

function jpegBegins(file: Uint8Array, width: number, height: number, grey: boolean): boolean {
  if (!startsWith(file, Uint8Array.of(0xff, 0xd8, 0xff))) return false;
  let scans = 0; // each costs a pass over the picture
  for (let i = 0; i + 1 < file.length; i++) if (file[i] === 0xff && file[i + 1] === 0xda) scans++;
  if (scans > MAX_SCANS) return false;
  for (const [marker, at] of segments(file)) {
    if (marker < 0xc0 || marker > 0xcf || [0xc4, 0xc8, 0xcc].includes(marker)) continue;
    const [precision, h1, h0, w1, w0, components] = file.subarray(at + 4, at + 10) as unknown as number[];
    return precision === 8 && ((h1! << 8) | h0!) === height && ((w1! << 8) | w0!) === width && components === (grey ? 1 : 3);
  }
  return false;
}

/** Without the segments that must not change what is shown: profiles, orientation, comments. */
function bare(file: Uint8Array): Uint8Array {
  const parts = [file.subarray(0, 2)];
  let rest = 2;
  for (const [marker, at, end] of segments(file)) {
    const dropped = marker === 0xfe || (marker >= 0xe1 && marker <= 0xef && marker !== 0xee);
    if (!dropped) parts.push(file.subarray(at, end));
    rest = end;
  }
  parts.push(file.subarray(rest));
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The browser's own decoder. */
export const browserDecoder: ImageDecoder = async (file, type) => {
  if (typeof createImageBitmap !== "function")
    throw new UnsupportedVersion(`there is no decoder of ${type} here; give one as options.decodeImage`);
  const blob = new Blob([file as BlobPart], { type });
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  try {
    const { width, height } = bitmap;
    const context = canvasContext(width, height);
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, width, height);
  } finally {
    bitmap.close();
  }
};

function canvasContext(width: number, height: number): CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D {
  const options = { willReadFrequently: true };
  if (typeof OffscreenCanvas === "function") {
    const context = new OffscreenCanvas(width, height).getContext("2d", options);
    if (context) return context as OffscreenCanvasRenderingContext2D;
  }
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return canvas.getContext("2d", options) as CanvasRenderingContext2D;
}
