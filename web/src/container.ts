/** Sections of a `.tdn` file, each under its own CRC-32 (docs/SPEC.md, sections 4 and 5). */
import { crc32, u32, varint } from "./bytes.js";
import { Corrupt, LimitExceeded, Truncated } from "./errors.js";
import { DEFAULT_LIMITS, type Header, type Limits, hasAlpha, readHeader, tileCount } from "./header.js";

const TILE_TAG = 0x54;
const METADATA = [
  ["icc", 0x49],
  ["exif", 0x45],
  ["xmp", 0x58],
] as const;
const OTHER_COPY = "use another copy of the file";

/** Metadata sections; those that the file lacks are missing. */
export interface Metadata {
  icc?: Uint8Array;
  exif?: Uint8Array;
  xmp?: Uint8Array;
}

/** One tile: CRC-32 of what it decodes to, words or a picture file, PNG stream of its alpha plane or null. */
export interface Tile {
  contentCrc: number;
  words: Uint8Array;
  alpha: Uint8Array | null;
  /** Bytes of `words` that are still to come, when the file has not wholly arrived. */
  missing: number;
}

/** A file whose header is read; its sections are read and checked when they are asked for. */
export class Container {
  readonly header: Header;
  private readonly first: number;
  private readonly limits: Limits;

  /** @throws as readHeader */
  constructor(
    readonly data: Uint8Array,
    limits: Partial<Limits> = {},
  ) {
    this.limits = { ...DEFAULT_LIMITS, ...limits };
    const { header, end } = readHeader(data, this.limits);
    this.header = header;
    this.first = end;
  }

  /** Metadata sections; no tile need have arrived. @throws Truncated, Corrupt, LimitExceeded */
  metadata(): Metadata {
    const found = this.readMetadata()[0];
    if (this.header.content === "jpeg-file" && Object.keys(found).length)
      throw new Corrupt("The file has metadata beside a JPEG file, which has its own inside.");
    return found;
  }

  /**
   * The wanted tiles by number; undefined for all. Of others only tag and length are looked at.
   *
   * @throws Truncated, Corrupt, LimitExceeded
   */
  tiles(wanted?: Set<number>): Map<number, Tile> {
    const tiles = new Map<number, Tile>();
    const count = tileCount(this.header);
    let offset = this.readMetadata()[1];
    for (let index = 0; index < count; index++) {
      const what = `tile ${index + 1} of ${count}`;
      const [start, end] = this.tileBounds(offset, what);
      if (this.data.length < end + 4)
        throw new Truncated(`The file ends at byte ${this.data.length}, inside ${what}; download it again.`);
      if (!wanted || wanted.has(index)) {
        tiles.set(index, this.tile(this.checked(offset, start, end, what), index, what));
        if (wanted && tiles.size === wanted.size) return tiles;
      }
      offset = end + 4;
    }
    if (offset !== this.data.length)
      throw new Corrupt(`${this.data.length - offset} bytes follow the last tile; ${OTHER_COPY}.`);
    return tiles;
  }

  /**
   * The tiles of which words have arrived, the last one perhaps cut short, if the file is still on its way.
   *
   * @throws Corrupt, LimitExceeded
   */
  arrived(): Map<number, Tile> {
    const tiles = new Map<number, Tile>();
    const count = tileCount(this.header);
    try {
      let offset = this.readMetadata()[1];
      for (let index = 0; index < count && offset < this.data.length; index++) {
        const what = `tile ${index + 1} of ${count}`;
        const [start, end] = this.tileBounds(offset, what);
        if (this.data.length < end + 4) {
          const tile = this.tile(this.data.subarray(start, Math.min(end, this.data.length)), index, what, end - start);
          if (tile.words.length) tiles.set(index, tile);
          break;
        }
        tiles.set(index, this.tile(this.checked(offset, start, end, what), index, what));
        offset = end + 4;
      }
    } catch (error) {
      if (!(error instanceof Truncated)) throw error;
    }
    return tiles;
  }

  private tileBounds(offset: number, what: string): [number, number] {
    const tag = this.data[offset];
    if (tag !== undefined && tag !== TILE_TAG)
      throw new Corrupt(`Byte ${offset} should begin ${what} but is 0x${tag.toString(16)}; ${OTHER_COPY}.`);
    return this.bounds(offset, "maxTileBytes", this.limits.maxTileBytes, what);
  }

  private readMetadata(): [Metadata, number] {
    const metadata: Metadata = {};
    let offset = this.first;
    let budget = this.limits.maxMetadataBytes;
    for (const [key, tag] of METADATA) {
      if (this.data[offset] !== tag) continue;
      const [start, end] = this.bounds(offset, "maxMetadataBytes", budget, `metadata ${key}`);
      if (this.data.length < end + 4)
        throw new Truncated(`The file ends at byte ${this.data.length}, inside metadata ${key}; download it again.`);
      metadata[key] = this.checked(offset, start, end, `metadata ${key}`);
      budget -= end - start;
      offset = end + 4;
    }
    if (METADATA.some(([, tag]) => this.data[offset] === tag))
      throw new Corrupt(`The metadata section at byte ${offset} is repeated or out of order; ${OTHER_COPY}.`);
    return [metadata, offset];
  }

  /** Start and end of the payload of the section at `offset`, which may not have arrived. */
  private bounds(offset: number, limit: keyof Limits, most: number, what: string): [number, number] {
    if (offset >= this.data.length)
      throw new Truncated(`The file ends at byte ${this.data.length}, before ${what}; download it again.`);
    const [length, start] = varint(this.data, offset + 1);
    if (length > most)
      throw new LimitExceeded(`${what} claims ${length} bytes where ${most} are allowed`, limit, length, most);
    return [start, start + length];
  }

  private checked(offset: number, start: number, end: number, what: string): Uint8Array {
    if (u32(this.data, end) !== crc32(this.data.subarray(offset, end)))
      throw new Corrupt(`The checksum of ${what} does not match; ${OTHER_COPY}.`);
    return this.data.subarray(start, end);
  }

  private tile(payload: Uint8Array, index: number, what: string, whole = payload.length): Tile {
    let number = index;
    let at = 0;
    let alphaLength = 0;
    let start: number;
    try {
      if (tileCount(this.header) > 1) [number, at] = varint(payload, 0);
      if (payload.length < at + 4) throw new Truncated(`The payload of ${what} is shorter than its checksum.`);
      start = at + 4;
      if (hasAlpha(this.header)) [alphaLength, start] = varint(payload, at + 4);
    } catch (error) {
      if (!(error instanceof Truncated) || whole > payload.length) throw error;
      throw new Corrupt(`The payload of ${what} ends before its words; ${OTHER_COPY}. ${error.message}`);
    }
    if (number >= tileCount(this.header))
      throw new Corrupt(`The payload of ${what} claims to be tile ${number + 1}; ${OTHER_COPY}.`);
    const end = start + alphaLength;
    if (end > whole) throw new Corrupt(`The alpha plane of ${what} claims ${alphaLength} bytes; ${OTHER_COPY}.`);
    if (number !== index) throw new Corrupt(`The section of ${what} is that of tile ${number + 1}; ${OTHER_COPY}.`);
    if (end > payload.length) throw new Truncated(`The alpha plane of ${what} has not arrived.`);
    return {
      contentCrc: u32(payload, at),
      words: payload.subarray(end),
      alpha: hasAlpha(this.header) ? payload.subarray(start, end) : null,
      missing: whole - payload.length,
    };
  }
}
