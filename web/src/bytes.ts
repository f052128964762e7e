/** Bytes, varints and checksums (docs/SPEC.md, section 1). */
import { Corrupt, Truncated } from "./errors.js";

const MAX_VARINT_BYTES = 9;

/** The value at `offset` and the offset after it; values beyond 2^53 are rounded, which no limit admits anyway. */
export function varint(data: Uint8Array, offset: number): [number, number] {
  let value = 0;
  for (let i = 0; i < MAX_VARINT_BYTES; i++) {
    if (offset + i >= data.length)
      throw new Truncated(`The data ends inside a number at byte ${offset}; download the file again.`);
    const byte = data[offset + i]!;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) {
      if (byte === 0 && i > 0)
        throw new Corrupt(`The number at byte ${offset} is not in its shortest form; use another copy of the file.`);
      return [value, offset + i + 1];
    }
  }
  throw new Corrupt(`The number at byte ${offset} is longer than 63 bits; use another copy of the file.`);
}

/** Tables for eight bytes at a time. */
const TABLES = /* @__PURE__ */ (() => {
  const tables = new Uint32Array(8 * 256);
  for (let n = 0; n < 256; n++) {
    let value = n;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    tables[n] = value;
  }
  for (let n = 256; n < tables.length; n++) tables[n] = (tables[n - 256]! >>> 8) ^ tables[tables[n - 256]! & 255]!;
  return tables;
})();

/** CRC-32 of zlib and PNG of bytes that follow others whose checksum is `before`. */
export function crc32(data: Uint8Array, before = 0): number {
  const t = TABLES;
  let crc = ~before;
  let at = 0;
  for (; at + 8 <= data.length; at += 8) {
    const low = crc ^ (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24));
    crc =
      t[1792 + (low & 255)]! ^
      t[1536 + ((low >>> 8) & 255)]! ^
      t[1280 + ((low >>> 16) & 255)]! ^
      t[1024 + (low >>> 24)]! ^
      t[768 + data[at + 4]!]! ^
      t[512 + data[at + 5]!]! ^
      t[256 + data[at + 6]!]! ^
      t[data[at + 7]!]!;
  }
  for (; at < data.length; at++) crc = t[(crc ^ data[at]!) & 255]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** The u32 at `offset`, least significant byte first. */
export function u32(data: Uint8Array, offset: number): number {
  return (data[offset]! | (data[offset + 1]! << 8) | (data[offset + 2]! << 16) | (data[offset + 3]! << 24)) >>> 0;
}

export function hex(data: Uint8Array, between = ""): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join(between);
}

/** The bytes of a string of which every character is one byte. */
export function ascii(text: string): Uint8Array {
  const out = new Uint8Array(text.length);
  for (let i = 0; i < out.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

export function startsWith(data: Uint8Array, start: Uint8Array, offset = 0): boolean {
  return data.length >= offset + start.length && start.every((byte, index) => data[offset + index] === byte);
}
