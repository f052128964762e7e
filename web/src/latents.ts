/** From the words of a tile to its latents, step by step (docs/SPEC.md, section 8.6). */
import { crc32 } from "./bytes.js";
import { CHUNK, type Core, longs, words } from "./core.js";
import { Corrupt } from "./errors.js";
import type { Kernel } from "./kernels.js";
import { ACTIVATION_LIMIT, type Networks, PRE_EXTRA, PRE_LIMIT } from "./networks.js";
import { type Cell, type Schedule, type Step, stepsOf } from "./schedule.js";

const Z_LIMIT = 2 ** 14 - 1;
const MAX_MAGNITUDE = 2 ** 20;
const SYMBOL_LIMIT = 8191;
const UNIT = 64;

/** Latents of one tile: y_hat int32 [rows][columns][latent], z_hat int32 [rows][columns][z_channels], Q6. */
export interface Latents {
  yHat: Int32Array;
  zHat: Int32Array;
  /** Stages of y that were decoded to the end; -1: not even z was. */
  complete: number;
  /** Stages that the tile has. */
  stages: number;
}

export interface LatentOptions {
  /** Decode so many stages (0: z alone) and predict the others; Infinity: all that `words` holds. Else all or nothing. */
  stages?: number | undefined;
  /** Called with what every step gave: means and scale indices, then y_hat, of the step's latents in order. */
  onStep?: ((mean: Int32Array, index: Uint8Array, yHat: Int32Array) => void) | undefined;
}

function damaged(reason: string): Corrupt {
  return new Corrupt(`entropy-coded data: ${reason}; it is truncated or damaged, get the file again`);
}

/**
 * Decode a tile.
 *
 * @param payload the entropy-coded words
 * @param height rows of y, and `width` its columns
 * @throws Corrupt the words do not decode to exactly these latents; not if `stages` is given
 */
export function decodeLatents(
  networks: Networks,
  payload: Uint8Array,
  height: number,
  width: number,
  quality: number,
  schedule: Schedule,
  options: LatentOptions = {},
): Latents {
  const stages = schedule.plan(height, width, networks.config.radius);
  networks.kernels.prepare(schedule.key, stages);
  const mark = networks.core.mark();
  try {
    const tile = new TileDecoder(networks, payload, height, width, quality, options);
    const steps = stepsOf(stages, schedule.groups, networks.config.group_sizes.length);
    return tile.run(steps, stages.length);
  } finally {
    networks.core.release(mark);
  }
}

/** CRC-32 over z_hat, then y_hat, as the header of a tile states it (docs/SPEC.md, section 8.2). */
export function checksum(latents: Latents): number {
  const bytes = (values: Int32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return crc32(bytes(latents.yHat), crc32(bytes(latents.zHat)));
}

class TileDecoder {
  private readonly core: Core;
  private stack = 0;
  private words = 0;
  private failed: string | null = null;
  private readonly lenient: boolean;
  private readonly n: number;
  private readonly pitch: number;
  private readonly embedded: number;
  private readonly late: number;
  private readonly yHat: number;
  private hyper = 0;
  private readonly windows = new Map<Kernel, number>();
  /** The outlet's bias of each group, as int64 and as int32. */
  private readonly outlets: [number, number][];

  constructor(
    private readonly networks: Networks,
    payload: Uint8Array,
    private readonly height: number,
    private readonly width: number,
    private readonly quality: number,
    private readonly options: LatentOptions,
  ) {
    const core = (this.core = networks.core);
    const { radius, late } = networks.config;
    this.lenient = options.stages !== undefined;
    this.n = height * width;
    this.pitch = width + 2 * radius;
    this.openWords(this.lenient ? payload.subarray(0, payload.length & ~3) : payload);
    this.outlets = networks.quality(quality).outlet.map((bias) => [core.put64(bias), core.put32(bias)]);
    // A margin of `radius` zeros stands for the neighbours outside the plane.
    this.embedded = core.zeros(2 * (height + 2 * radius) * this.pitch * networks.features);
    this.late = core.zeros(8 * this.n * late);
    this.yHat = core.zeros(4 * this.n * networks.latent);
  }

  run(steps: Step[], stages: number): Latents {
    const { core, networks } = this;
    const zHat = this.decodeZ();
    let complete = this.failed ? -1 : 0;
    const wanted = this.options.stages ?? Infinity;
    this.hyper = this.hyperOf(zHat);
    const mark = core.mark();
    let [hidden, rows, starts] = [0, 0, 0];
    const left = new Uint8Array(this.n).fill(networks.config.group_sizes.length);
    steps.forEach((step, number) => {
      const fresh = number === 0 || steps[number - 1]!.positions !== step.positions;
      if (fresh) {
        core.release(mark);
        this.windows.clear();
        hidden = this.hiddenOf(step.cells, step.positions.length);
        rows = core.put64(step.positions);
        starts = core.put64(this.starts(step.positions));
      }
      const inner = core.mark();
      let read = false;
      for (const position of step.positions) read = --left[position]! > 0 || read;
      const decoded = this.decodeStep(step, hidden, rows, starts, read, step.stage >= wanted);
      if (decoded && steps[number + 1]?.stage !== step.stage) complete = step.stage + 1;
      core.release(inner);
    });
    if (!this.lenient) this.finish();
    const yHat = core.i32(this.yHat, this.n * networks.latent).slice();
    return { yHat, zHat, complete, stages };
  }

  private fail(reason: string): void {
    if (!this.lenient) throw damaged(reason);
    this.failed = reason;
  }

  /** The words in reverse, as the core pops them, and the state above them. */
  private openWords(payload: Uint8Array): void {
    const { core } = this;
    const count = payload.length / 4;
    if (!Number.isInteger(count) || count < 2) return this.fail(`${payload.length} bytes`);
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    this.words = core.alloc(4 * count);
    const reversed = core.i32(this.words, count);
    for (let i = 0; i < count; i++) reversed[count - 1 - i] = view.getInt32(4 * i, true);
    if (reversed[count - 1] === 0) return this.fail("it starts with a zero word, which no encoder writes");
    this.stack = core.alloc(16);
    core.i32(this.stack, 4).set([reversed[count - 2]!, reversed[count - 1]!, count - 2, 0]);
  }

  private decodeZ(): Int32Array {
    const { core, networks } = this;
    const { z_channels: channels } = networks.config;
    const { zMean, zIndex } = networks.quality(this.quality);
    const count = Math.ceil(this.height / 4) * Math.ceil(this.width / 4) * channels;
    const zHat = new Int32Array(count);
    const mark = core.mark();
    const index = core.alloc(count);
    const order = core.alloc(4 * count);
    const symbols = core.zeros(4 * count);
    const indices = core.u8(index, count);
    for (let i = 0; i < count; i += channels) indices.set(zIndex, i);
    if (!this.failed) {
      const { at, escapes } = networks.tables;
      const [starts, widths, classes] = escapes;
      const n = BigInt(count);
      this.noted(
        core.run.tadan_pull(this.stack, this.words, at, starts, widths, classes, index, n, MAX_MAGNITUDE, order, symbols),
      );
    }
    const values = core.i32(symbols, count);
    if (!this.failed && values.some((value) => Math.abs(value) > SYMBOL_LIMIT)) this.noted(-3);
    for (let i = 0; i < count; i++) zHat[i] = (this.failed ? 0 : values[i]! * UNIT) + zMean[i % channels]!;
    core.release(mark);
    return zHat;
  }

  /** What the core returned. */
  private noted(code: number): boolean {
    if (code === 0) return true;
    this.fail(code === -1 ? "the data ended before the last stage" : "a latent is out of range");
    return false;
  }

  /** Predict a step, decode its symbols and take them in; without words, or if they do not matter, the means. */
  private decodeStep(step: Step, hidden: number, rows: number, starts: number, read: boolean, skip: boolean): boolean {
    const { core, networks } = this;
    const { group, positions } = step;
    const size = networks.config.group_sizes[group]!;
    const n = positions.length;
    const count = n * size;
    const [bias, bias32] = this.outlets[group]!;
    const mean = core.alloc(4 * count);
    const symbols = core.alloc(4 * count);
    const index = core.alloc(count);
    const order = core.alloc(4 * count);
    let decoded = false;
    if (!skip && !this.failed) {
      const record = core.struct([
        ...words(networks.twin, hidden, rows, starts, bias, bias32, this.embedded, this.late, this.yHat),
        ...words(mean, symbols, index, order),
        ...longs(n, networks.latent, networks.channelStarts[group]!),
        ...words(group, +read, SYMBOL_LIMIT),
      ]);
      const { at, escapes } = networks.tables;
      const [first, widths, classes] = escapes;
      const saved = core.u8(this.stack, 16).slice();
      decoded = this.noted(
        core.run.tadan_decode_step(
          networks.force, record, this.stack, this.words, at, first, widths, classes, MAX_MAGNITUDE,
        ),
      );
      if (!decoded) core.u8(this.stack, 16).set(saved);
    }
    if (!decoded) {
      const many = BigInt(n);
      core.run.tadan_predict(networks.force, networks.twin, group, hidden, this.late, rows, bias, bias32, many, mean, index);
      core.i32(symbols, count).set(core.i32(mean, count));
      const means = core.i32(mean, count);
      const plane = core.i32(this.yHat, this.n * networks.latent);
      const channel = networks.channelStarts[group]!;
      for (let i = 0; i < n; i++)
        plane.set(means.subarray(i * size, (i + 1) * size), positions[i]! * networks.latent + channel);
      const late = read ? this.late : 0;
      core.run.tadan_reveal(networks.force, networks.twin, group, mean, rows, starts, many, this.embedded, late);
    }
    this.options.onStep?.(core.i32(mean, count), core.u8(index, count), core.i32(symbols, count));
    return decoded;
  }

  /** Where a position's own embedded values begin. */
  private start(position: number): number {
    const { radius } = this.networks.config;
    const row = Math.floor(position / this.width) + radius;
    return (row * this.pitch + (position % this.width) + radius) * this.networks.features;
  }

  private starts(positions: Int32Array): Int32Array {
    const starts = new Int32Array(positions.length);
    for (let i = 0; i < starts.length; i++) starts[i] = this.start(positions[i]!);
    return starts;
  }

  private hiddenOf(cells: Cell[], total: number): number {
    const { core, networks } = this;
    const width = networks.config.hidden;
    const out = core.alloc(4 * total * width);
    let at = out;
    for (const cell of cells) {
      const kernel = networks.kernels.of(cell);
      const n = cell.positions.length;
      if (kernel.wide) this.wideHidden(cell, kernel, at);
      else {
        const window = this.window(kernel);
        const mark = core.mark();
        const rows = core.put64(cell.positions);
        const starts = core.put64(this.starts(cell.positions));
        core.run.tadan_hidden(
          networks.force, networks.twin, window, this.hyper, rows, this.embedded, starts, BigInt(n), at,
        );
        core.release(mark);
      }
      at += 4 * n * width;
    }
    return out;
  }

  /** `tadan_window` of a kernel on planes of this pitch. */
  private window(kernel: Kernel): number {
    const known = this.windows.get(kernel);
    if (known) return known;
    const where = this.where(kernel);
    const made = this.core.struct(words(kernel.layer, this.core.put64(where), kernel.bias));
    this.windows.set(kernel, made);
    return made;
  }

  private where(kernel: Kernel): Int32Array {
    const { features } = this.networks;
    return kernel.features.map((one, i) => (kernel.rows[i]! * this.pitch + kernel.cols[i]!) * features + one);
  }

  /** The same as `tadan_hidden` for weights of more than 16 bits, in double precision, which holds all sums exactly. */
  private wideHidden(cell: Cell, kernel: Kernel, out: number): void {
    const { core, networks } = this;
    const width = networks.config.hidden;
    const n = cell.positions.length;
    const where = this.where(kernel);
    const mark = core.mark();
    const rows = core.alloc(4 * n * width);
    const inputs = core.f32(rows, n * width);
    const plane = core.i16(this.embedded, (this.height + 2 * networks.config.radius) * this.pitch * networks.features);
    const hyper = core.i32(this.hyper, this.n * width);
    const sums = new Float64Array(width);
    cell.positions.forEach((position, i) => {
      sums.fill(0);
      const own = this.start(position);
      where.forEach((offset, v) => {
        const value = plane[own + offset]!;
        if (value) for (let d = 0; d < width; d++) sums[d]! += value * kernel.wide![v * width + d]!;
      });
      for (let d = 0; d < width; d++) {
        const shift = 2 ** networks.baseShift[d]!;
        const context = Math.floor((sums[d]! + Math.floor(shift / 2)) / shift);
        const limited = Math.min(Math.max(context, -PRE_LIMIT), PRE_LIMIT);
        const pre = hyper[position * width + d]! + limited + kernel.biasValues[d]!;
        const half = 2 ** (PRE_EXTRA - 1);
        inputs[i * width + d] = Math.min(Math.max(Math.floor((pre + half) / 2 ** PRE_EXTRA), 0), ACTIVATION_LIMIT);
      }
    });
    networks.apply("hidden", rows, n, out);
    core.release(mark);
  }

  /** h_s plus the bias of the quality, int32 [positions][hidden] (docs/SPEC.md, section 9.3). */
  private hyperOf(zHat: Int32Array): number {
    const { core, networks } = this;
    const { hyper_widths: widths, z_channels: channels, hidden } = networks.config;
    const [, second, third] = widths as [number, number, number];
    const [rows, cols] = [Math.ceil(this.height / 4), Math.ceil(this.width / 4)];
    const out = core.alloc(4 * this.n * hidden);
    const mark = core.mark();
    let x: Float32Array = new Float32Array(zHat);
    for (let i = 0; i < x.length; i++) x[i] = Math.min(Math.max(x[i]!, -Z_LIMIT), Z_LIMIT);
    x = this.conv3("conv1", x, rows, cols, channels);
    x = depthToSpace(this.rows("up1", x, rows * cols), rows, cols, second);
    x = this.conv3("conv2", x, 2 * rows, 2 * cols, second);
    x = depthToSpace(this.rows("up2", x, 4 * rows * cols), 2 * rows, 2 * cols, third);
    const { hidden: bias } = networks.quality(this.quality);
    const wide = 4 * cols;
    for (let row = 0; row < this.height; row++) {
      const line = x.subarray(row * wide * third, (row * wide + this.width) * third);
      const values = this.rows("hyper", line, this.width);
      const to = core.i32(out + 4 * row * this.width * hidden, this.width * hidden);
      for (let i = 0; i < values.length; ) for (let d = 0; d < hidden; d++, i++) to[i] = values[i]! + bias[d]!;
    }
    core.release(mark);
    return out;
  }

  /** A layer on n rows. */
  private rows(name: string, x: Float32Array, n: number): Float32Array {
    const { core, networks } = this;
    const { outputs } = networks.layers[name]!;
    const mark = core.mark();
    const out = core.alloc(4 * n * outputs);
    networks.apply(name, core.putFloats(x), n, out);
    const result = new Float32Array(core.i32(out, n * outputs)); // below 2^24
    core.release(mark);
    return result;
  }

  /** A layer over windows of 3 x 3, zeros outside the plane. */
  private conv3(name: string, x: Float32Array, height: number, width: number, channels: number): Float32Array {
    const { outputs } = this.networks.layers[name]!;
    const out = new Float32Array(height * width * outputs);
    const lines = Math.max(1, Math.floor((4 * CHUNK) / width));
    for (let top = 0; top < height; top += lines) {
      const count = Math.min(lines, height - top);
      const gathered = new Float32Array(count * width * 9 * channels);
      for (let i = 0; i < count * width; i++)
        for (let tap = 0; tap < 9; tap++) {
          const row = top + Math.floor(i / width) + Math.floor(tap / 3) - 1;
          const col = (i % width) + (tap % 3) - 1;
          if (row < 0 || row >= height || col < 0 || col >= width) continue;
          const from = (row * width + col) * channels;
          gathered.set(x.subarray(from, from + channels), (i * 9 + tap) * channels);
        }
      out.set(this.rows(name, gathered, count * width), top * width * outputs);
    }
    return out;
  }

  private finish(): void {
    const [low, high, count] = this.core.i32(this.stack, 4);
    if (count !== 0 || low !== 0 || high !== 1) throw damaged("data is left after the last stage");
  }
}

/** [rows][cols][4 * channels] -> [2 rows][2 cols][channels]. */
function depthToSpace(x: Float32Array, rows: number, cols: number, channels: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++)
      for (let part = 0; part < 4; part++) {
        const from = ((i * cols + j) * 4 + part) * channels;
        const to = ((2 * i + (part >> 1)) * 2 * cols + 2 * j + (part & 1)) * channels;
        out.set(x.subarray(from, from + channels), to);
      }
  return out;
}
