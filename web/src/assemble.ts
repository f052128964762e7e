/** Tiles to one picture: latents tile by tile, pixels with a margin of the neighbours' latents, so no seams show. */
import type { Tile } from "./container.js";
import { type Box, type Header, isGrey, tileBox, tileCount, tileGrid } from "./header.js";
import { STRIDE } from "./model.js";
import type { Pool } from "./pool.js";
import { widened } from "./synthesis.js";
import type { Facts, TileLatents } from "./thread.js";

const PIECE = 64; // positions a side of what is shown at a time: 1024 pixels
const LEAST = 8; // rows of positions that are worth a worker of their own

/** What two boxes have in common, if anything. */
export function overlap(a: Box, b: Box): Box | null {
  const [left, top] = [Math.max(a[0], b[0]), Math.max(a[1], b[1])];
  const [right, bottom] = [Math.min(a[0] + a[2], b[0] + b[2]), Math.min(a[1] + a[3], b[1] + b[3])];
  return left < right && top < bottom ? [left, top, right - left, bottom - top] : null;
}

/** Smallest box of positions that covers a box of pixels. */
export function onLatents([x, y, w, h]: Box): Box {
  const [left, top] = [Math.floor(x / STRIDE), Math.floor(y / STRIDE)];
  return [left, top, Math.ceil((x + w) / STRIDE) - left, Math.ceil((y + h) / STRIDE) - top];
}

/** Numbers of the tiles that the pixels of a region depend on. */
export function tilesFor(header: Header, reach: number, region: Box): Set<number> {
  const near = widened(region, reach * STRIDE, header.width, header.height);
  const [rows, cols] = tileGrid(header);
  const side = header.tileSize;
  if (!side) return new Set([0]);
  const wanted = new Set<number>();
  for (let row = Math.floor(near[1] / side); row < rows && row * side < near[1] + near[3]; row++)
    for (let col = Math.floor(near[0] / side); col < cols && col * side < near[0] + near[2]; col++)
      wanted.add(row * cols + col);
  return wanted;
}

/** RGBA samples of a part of a picture; what is not there yet is transparent. */
export class Canvas {
  readonly data: Uint8ClampedArray<ArrayBuffer>;

  constructor(readonly region: Box) {
    this.data = new Uint8ClampedArray(4 * region[2] * region[3]);
  }

  /** Put samples of a box of which lines are `stride` pixels apart; what lies outside the region is dropped. */
  put(box: Box, rgba: Uint8ClampedArray, stride = box[2]): void {
    const common = overlap(box, this.region);
    if (!common) return;
    const [x, y, w, h] = common;
    for (let row = y; row < y + h; row++) {
      const from = 4 * ((row - box[1]) * stride + x - box[0]);
      this.data.set(rgba.subarray(from, from + 4 * w), 4 * ((row - this.region[1]) * this.region[2] + x - this.region[0]));
    }
  }

  /** Set the opacity of a box. */
  putAlpha(box: Box, alpha: Uint8Array): void {
    const common = overlap(box, this.region);
    if (!common) return;
    const [x, y, w, h] = common;
    for (let row = y; row < y + h; row++)
      for (let col = x; col < x + w; col++) {
        const to = (row - this.region[1]) * this.region[2] + col - this.region[0];
        this.data[4 * to + 3] = alpha[(row - box[1]) * box[2] + col - box[0]]!;
      }
  }
}

/** How far a decode came: stages of y of the tiles that came least far, -1 before z; stages in all; tiles at hand. */
export interface Progress {
  complete: number;
  stages: number;
  tiles: number;
}

/** A part of a tile that is shown at once, in positions, and the tiles that it depends on. */
interface Piece {
  part: Box;
  needs: number[];
}

/**
 * Show the latents of tiles on a canvas; latents are dropped as soon as all that depends on them is shown.
 *
 * @param tiles those of the region; where one is missing, its neighbours go on as if its latents were like theirs
 * @param stages undefined: decode all, and check them
 */
export async function showLatents(
  pool: Pool,
  header: Header,
  facts: Facts,
  tiles: Map<number, Tile>,
  canvas: Canvas,
  stages: number | undefined,
  signal?: AbortSignal,
): Promise<Progress> {
  const width = Math.ceil(header.width / STRIDE);
  const height = Math.ceil(header.height / STRIDE);
  const places = new Map([...tiles.keys()].map((number) => [number, onLatents(tileBox(header, number))]));
  const held = new Map<number, Int32Array>();
  const uses = new Map<number, number>();
  const users = new Map<number, Piece[]>();
  for (const piece of cut(header, canvas.region, places, facts.reach, pool.size))
    for (const number of piece.needs) {
      uses.set(number, (uses.get(number) ?? 0) + 1);
      if (!users.get(number)?.push(piece)) users.set(number, [piece]);
    }
  const progress: Progress = { complete: Infinity, stages: 0, tiles: tiles.size };
  const showing: Promise<void>[] = [];

  async function show({ part, needs }: Piece): Promise<void> {
    const near = widened(part, facts.reach, width, height);
    const yHat = gather(near, needs, places, held, facts.latent);
    for (const number of needs) {
      uses.set(number, uses.get(number)! - 1);
      if (!uses.get(number)) held.delete(number);
    }
    const inner: Box = [part[0] - near[0], part[1] - near[1], part[2], part[3]];
    const job = { yHat, rows: near[3], cols: near[2], quality: header.quality, inner, grey: isGrey(header) };
    const rgba = await pool.show({ kind: "show", model: facts.id, ...job }, signal);
    const stride = STRIDE * part[2];
    const box: Box = [STRIDE * part[0], STRIDE * part[1], stride, STRIDE * part[3]];
    const seen = overlap(box, [0, 0, header.width, header.height])!;
    canvas.put(seen, rgba, stride);
  }

  async function decode([number, tile]: [number, Tile]): Promise<void> {
    const [, , cols, rows] = places.get(number)!;
    const { words, contentCrc } = tile;
    const { quality, schedule } = header;
    const job = { words, contentCrc, quality, schedule: schedule!, rows, cols, stages };
    const latents: TileLatents = await pool.latents({ kind: "latents", model: facts.id, ...job }, signal);
    progress.complete = Math.min(progress.complete, latents.complete);
    progress.stages = Math.max(progress.stages, latents.stages);
    held.set(number, latents.yHat);
    for (const piece of users.get(number) ?? []) if (piece.needs.every((one) => held.has(one))) showing.push(show(piece));
  }

  await all([...tiles].map(decode));
  await all(showing);
  return progress;
}

/** As Promise.all, but of several errors the one of the first promise counts, whichever comes first. */
async function all(promises: Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(promises);
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
}

function cut(
  header: Header,
  region: Box,
  places: Map<number, Box>,
  reach: number,
  workers: number,
): Piece[] {
  const pieces: Piece[] = [];
  const strips = Math.ceil(workers / places.size);
  for (const tile of places.keys()) {
    const seen = overlap(tileBox(header, tile), region);
    if (!seen) continue;
    const [x, y, w, h] = onLatents(seen);
    const rows = Math.min(PIECE, Math.max(LEAST, Math.ceil(h / strips)));
    for (let top = y; top < y + h; top += rows)
      for (let left = x; left < x + w; left += PIECE) {
        const part: Box = [left, top, Math.min(PIECE, x + w - left), Math.min(rows, y + h - top)];
        const pixels = part.map((value) => STRIDE * value) as Box;
        const others = [...tilesFor(header, reach, pixels)].filter((one) => one !== tile && places.has(one));
        pieces.push({ part, needs: [tile, ...others] });
      }
  }
  return pieces;
}

/** Latents of a box: those of the first tile continued by its last rows and columns, then those of the others. */
function gather(box: Box, needs: number[], places: Map<number, Box>, held: Map<number, Int32Array>, latent: number): Int32Array {
  const [x, y, w, h] = box;
  const out = new Int32Array(w * h * latent);
  const own = places.get(needs[0]!)!;
  const around = needs.map((number) => overlap(places.get(number)!, box)!);
  const whole = around.reduce((sum, one) => sum + one[2] * one[3], 0) === w * h;
  if (!whole) {
    const values = held.get(needs[0]!)!;
    for (let row = 0; row < h; row++)
      for (let col = 0; col < w; col++) {
        const r = Math.min(Math.max(y + row - own[1], 0), own[3] - 1);
        const c = Math.min(Math.max(x + col - own[0], 0), own[2] - 1);
        const from = (r * own[2] + c) * latent;
        out.set(values.subarray(from, from + latent), (row * w + col) * latent);
      }
  }
  needs.forEach((number, index) => {
    const place = places.get(number)!;
    const values = held.get(number)!;
    const [left, top, cols, rows] = around[index]!;
    for (let row = top; row < top + rows; row++) {
      const from = ((row - place[1]) * place[2] + left - place[0]) * latent;
      out.set(values.subarray(from, from + cols * latent), ((row - y) * w + left - x) * latent);
    }
  });
  return out;
}

/** Whether all tiles of a picture are at hand. */
export function isWhole(header: Header, tiles: Map<number, Tile>): boolean {
  return tiles.size === tileCount(header) && [...tiles.values()].every((tile) => !tile.missing);
}
