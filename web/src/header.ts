/** The header of a `.tdn` file: all that is known before any latent is decoded (docs/SPEC.md, sections 2 and 3). */
import { crc32, hex, u32, varint } from "./bytes.js";
import { Corrupt, InvalidInput, LimitExceeded, TadanError, Truncated, UnsupportedVersion } from "./errors.js";
import { MAGIC, checkMagic } from "./sniff.js";

export type Mode = "L" | "RGB" | "LA" | "RGBA";
export type Content = "latents" | "png" | "webp" | "jpeg" | "jpeg-file";
/** x, y, width, height. */
export type Box = [number, number, number, number];
/** Stage of each group, row and column. */
export type Pattern = number[][][];
export type ScheduleField = { name: string } | { pattern: Pattern };

/** What the header says. `modelId` (hexadecimal) and `schedule` are null unless there are latents. */
export interface Header {
  readonly version: number;
  readonly width: number;
  readonly height: number;
  readonly mode: Mode;
  readonly content: Content;
  readonly quality: number;
  /** Side of the tiles in pixels; 0: the picture is one tile. */
  readonly tileSize: number;
  readonly modelId: string | null;
  readonly schedule: ScheduleField | null;
}

/** Upper bounds that are checked before anything of an announced size is allocated (docs/SPEC.md, section 6). */
export interface Limits {
  maxPixels: number;
  maxMetadataBytes: number;
  maxTiles: number;
  maxTileBytes: number;
  maxTilePixels: number;
  maxPatternCells: number;
}

export const DEFAULT_LIMITS: Limits = {
  maxPixels: 178_956_970,
  maxMetadataBytes: 2 ** 24,
  maxTiles: 65_536,
  maxTileBytes: 2 ** 30,
  maxTilePixels: 2 ** 24,
  maxPatternCells: 128,
};

const VERSION = 1;
const MODES: Mode[] = ["L", "RGB", "LA", "RGBA"];
const CONTENTS: Content[] = ["latents", "png", "webp", "jpeg", "jpeg-file"];
const MAX_HEADER_LENGTH = 65_536;
/** So many first bytes always hold a whole header. */
export const HEADER_PREFIX_BYTES = MAGIC.length + 1 + 3 + MAX_HEADER_LENGTH + 4;
const MAX_SIDE = 2 ** 31 - 1;
const MAX_PATTERN_SIDE = 16;
const OTHER_COPY = "use another copy of the file";

/**
 * Read and verify the header; `data` may end anywhere after it.
 *
 * @throws NotOurFile, Truncated, UnsupportedVersion, Corrupt, LimitExceeded
 */
export function readHeader(data: Uint8Array, limits: Partial<Limits> = {}): { header: Header; end: number } {
  checkMagic(data);
  const first = MAGIC.length;
  if (data.length <= first) throw new Truncated("The file ends after the magic number; download it again.");
  if (data[first] !== VERSION)
    throw new UnsupportedVersion(
      `The file has format version ${data[first]}, this decoder reads version ${VERSION}; update tadan-web.`,
    );
  const [length, start] = varint(data, first + 1);
  if (length > MAX_HEADER_LENGTH)
    throw new Corrupt(`The header claims ${length} bytes, more than the ${MAX_HEADER_LENGTH} allowed; ${OTHER_COPY}.`);
  const end = start + length;
  if (data.length < end + 4)
    throw new Truncated(`The file ends at byte ${data.length}, inside the header; download it again.`);
  if (u32(data, end) !== crc32(data.subarray(0, end)))
    throw new Corrupt(`The checksum of the header does not match; ${OTHER_COPY}.`);
  const header = readFields(data.subarray(start, end));
  checkLimits(header, { ...DEFAULT_LIMITS, ...limits });
  return { header, end: end + 4 };
}

function checkLimits(header: Header, limits: Limits): void {
  const [width, height] = tileSides(header);
  const cells =
    header.schedule && "pattern" in header.schedule
      ? header.schedule.pattern.length * header.schedule.pattern[0]!.length * header.schedule.pattern[0]![0]!.length
      : 0;
  const checks: [string, keyof Limits, number][] = [
    ["pixels of the picture", "maxPixels", header.width * header.height],
    ["tiles of the picture", "maxTiles", tileCount(header)],
    ["pixels of a tile", "maxTilePixels", width * height],
    ["cells of the schedule's pattern", "maxPatternCells", cells],
  ];
  for (const [what, limit, value] of checks)
    if (value > limits[limit])
      throw new LimitExceeded(`${value} ${what}, where ${limits[limit]} are allowed`, limit, value, limits[limit]);
}

function readFields(fields: Uint8Array): Header {
  const cursor = new Cursor(fields);
  let header: Header;
  try {
    header = fieldsOf(cursor);
  } catch (error) {
    if (error instanceof InvalidInput || error instanceof Truncated || error instanceof Corrupt)
      throw new Corrupt(`The header does not follow the format, ${OTHER_COPY}. ${error.message}`, { cause: error });
    throw error as TadanError;
  }
  if (cursor.position !== fields.length)
    throw new Corrupt(`The header has bytes after its last field; ${OTHER_COPY}.`);
  return header;
}

function fieldsOf(cursor: Cursor): Header {
  const width = cursor.varint();
  const height = cursor.varint();
  const [mode, content] = cursor.take(2) as unknown as [number, number];
  if (content >= CONTENTS.length)
    throw new UnsupportedVersion(`The file holds content of kind ${content}; update tadan-web.`);
  if (mode >= MODES.length) throw new InvalidInput(`The mode byte is ${mode}.`);
  const quality = cursor.take(1)[0]!;
  const tileSize = cursor.varint();
  let modelId: string | null = null;
  let schedule: ScheduleField | null = null;
  if (CONTENTS[content] === "latents") {
    modelId = hex(cursor.take(16));
    schedule = readSchedule(cursor);
  }
  for (const side of [width, height]) if (side < 1 || side > MAX_SIDE) throw new InvalidInput(`A side is ${side}.`);
  if (quality < 1 || quality > 100) throw new InvalidInput(`The quality is ${quality}.`);
  if (tileSize > MAX_SIDE || tileSize % 64) throw new InvalidInput(`The tile size is ${tileSize}.`);
  if (CONTENTS[content] === "jpeg-file" && (tileSize || MODES[mode]!.endsWith("A")))
    throw new InvalidInput("A JPEG file is one tile without alpha.");
  return {
    version: VERSION,
    width,
    height,
    mode: MODES[mode]!,
    content: CONTENTS[content]!,
    quality,
    tileSize,
    modelId,
    schedule,
  };
}

function readSchedule(cursor: Cursor): ScheduleField {
  const kind = cursor.take(1)[0]!;
  if (kind === 0) {
    const name = String.fromCharCode(...cursor.take(cursor.take(1)[0]!));
    if (!/^[a-z0-9-]{1,32}$/.test(name)) throw new InvalidInput("The name of the schedule is none.");
    return { name };
  }
  if (kind !== 1) throw new InvalidInput(`The schedule kind is ${kind}.`);
  const sides = Array.from(cursor.take(3)) as [number, number, number];
  if (sides.some((side) => side < 1 || side > MAX_PATTERN_SIDE))
    throw new InvalidInput(`The schedule pattern is ${sides.join(" x ")}.`);
  const [groups, rows, cols] = sides;
  const pattern = times(groups, () => times(rows, () => times(cols, () => cursor.varint())));
  const used = new Set(pattern.flat(2));
  if (Math.max(...used) !== used.size - 1) throw new InvalidInput("The stages of the schedule have gaps.");
  return { pattern };
}

function times<T>(count: number, make: () => T): T[] {
  return Array.from({ length: count }, make);
}

class Cursor {
  position = 0;

  constructor(private readonly data: Uint8Array) {}

  take(count: number): Uint8Array {
    const end = this.position + count;
    if (end > this.data.length) throw new Truncated(`The header fields end inside a field.`);
    const taken = this.data.subarray(this.position, end);
    this.position = end;
    return taken;
  }

  varint(): number {
    const [value, end] = varint(this.data, this.position);
    this.position = end;
    return value;
  }
}

export function hasAlpha(header: Header): boolean {
  return header.mode.endsWith("A");
}

export function isGrey(header: Header): boolean {
  return header.mode.startsWith("L");
}

/** Width and height of the largest tile. */
function tileSides(header: Header): [number, number] {
  const most = header.tileSize || Infinity;
  return [Math.min(most, header.width), Math.min(most, header.height)];
}

/** Rows and columns of tiles. */
export function tileGrid(header: Header): [number, number] {
  const side = header.tileSize;
  return side ? [Math.ceil(header.height / side), Math.ceil(header.width / side)] : [1, 1];
}

export function tileCount(header: Header): number {
  const [rows, cols] = tileGrid(header);
  return rows * cols;
}

/** The box of a tile in pixels; tiles at the right and at the bottom are cut off. */
export function tileBox(header: Header, number: number): Box {
  const [, cols] = tileGrid(header);
  const [width, height] = [header.tileSize || header.width, header.tileSize || header.height];
  const [x, y] = [(number % cols) * width, Math.floor(number / cols) * height];
  return [x, y, Math.min(width, header.width - x), Math.min(height, header.height - y)];
}
