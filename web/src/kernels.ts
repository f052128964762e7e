/** Context kernels: what a visibility pattern makes of the base kernels (docs/SPEC.md, section 9.5). */
import { type Core, OUTPUTS } from "./core.js";
import { type Bounds, chunkOf, layerFields } from "./layers.js";
import { EMBED_LIMIT, type Networks, PRE_LIMIT } from "./networks.js";
import type { Cell, Stage } from "./schedule.js";

const FLOAT64_EXACT = 2 ** 53;

/** The kernel of one visibility pattern. */
export interface Kernel {
  /** Row and column offset, and embedded value, of each input. */
  rows: Int8Array;
  cols: Int8Array;
  features: Int32Array;
  /** Address of `tadan_layer`; 0: nothing is visible, or `wide` has the weights. */
  layer: number;
  /** Weights [inputs][hidden] that do not fit the core's 16 bits, which no model of ours has met. */
  wide: Float64Array | null;
  /** Address of int32 [hidden]. */
  bias: number;
  biasValues: Int32Array;
}

/** Kernels of the schedule in work; those of another one before it are given back. */
export class Kernels {
  private readonly core: Core;
  private readonly kept = new Map<string, Kernel>();
  private schedule = "";
  private base = 0;

  constructor(
    private readonly networks: Networks,
    private readonly bases: Int16Array,
  ) {
    this.core = networks.core;
  }

  /**
   * Make ready what the stages of a schedule need. Whoever calls this has given back all memory of the tile before.
   */
  prepare(schedule: string, stages: Stage[]): void {
    if (this.schedule !== schedule) {
      if (this.kept.size) this.core.release(this.base);
      this.kept.clear();
      this.base = this.core.mark();
      this.schedule = schedule;
    }
    for (const cell of stages.flat()) if (!this.kept.has(cell.key)) this.kept.set(cell.key, this.mixed(cell));
  }

  of(cell: Cell): Kernel {
    return this.kept.get(cell.key)!;
  }

  private mixed(cell: Cell): Kernel {
    const { core, networks, bases } = this;
    const { config, features } = networks;
    const { group_sizes: sizes, embed_sizes: embeds, radius, hidden, bases: count } = config;
    const groups = sizes.length;
    const side = 2 * radius + 1;
    const window = side * side;
    const own = groups / (cell.visible.length / window);
    const bits = new Float32Array(window * groups);
    for (let w = 0; w < window; w++)
      for (let t = 0; t < groups; t++) bits[w * groups + t] = cell.visible[Math.floor(t / own) * window + w]!;
    const { coefficients, bias } = this.mask(bits);
    const groupOf = embeds.flatMap((size, group) => new Array<number>(size).fill(group));
    const seen: number[] = []; // window position * features + embedded value
    for (let w = 0; w < window; w++)
      for (let p = 0; p < features; p++) if (bits[w * groups + groupOf[p]!]) seen.push(w * features + p);
    const kernel: Kernel = {
      rows: Int8Array.from(seen, (one) => Math.floor(one / features / side) - radius),
      cols: Int8Array.from(seen, (one) => (Math.floor(one / features) % side) - radius),
      features: Int32Array.from(seen, (one) => one % features),
      layer: 0,
      wide: null,
      bias: core.put32(bias),
      biasValues: bias,
    };
    if (!seen.length) return kernel;
    const row = (v: number, to: Float64Array) => {
      const at = seen[v]!;
      const w = Math.floor(at / features);
      const coefficient = w * groups + groupOf[at % features]!;
      to.fill(2048);
      for (let b = 0; b < count; b++) {
        const factor = coefficients[b * window * groups + coefficient]!;
        const from = (b * window * features + at) * hidden;
        for (let d = 0; d < hidden; d++) to[d]! += factor * bases[from + d]!;
      }
      for (let d = 0; d < hidden; d++) {
        const value = Math.floor(to[d]! / 4096);
        to[d] = value > PRE_LIMIT ? PRE_LIMIT : value < -PRE_LIMIT ? -PRE_LIMIT : value;
      }
    };
    this.pack(kernel, seen.length, row);
    return kernel;
  }

  /** Pack weights that are computed row by row as int16, or keep them as they are where they do not fit. */
  private pack(kernel: Kernel, inputs: number, row: (v: number, to: Float64Array) => void): void {
    const { core, networks } = this;
    const hidden = networks.config.hidden;
    const k = inputs + (inputs % 2);
    const blocks = Math.ceil(hidden / OUTPUTS);
    const mark = core.mark();
    const at = core.zeros(2 * k * blocks * OUTPUTS);
    const packed = core.i16(at, k * blocks * OUTPUTS);
    const values = new Float64Array(hidden);
    const sums = new Float64Array(hidden);
    let most = 0;
    for (let v = 0; v < inputs; v++) {
      row(v, values);
      const place = (v >> 1) * 2 * OUTPUTS + (v & 1);
      for (let d = 0; d < hidden; d++) {
        const value = values[d]!;
        packed[(d >> 4) * k * OUTPUTS + place + (d & 15) * 2] = value;
        const size = value < 0 ? -value : value;
        if (size > most) most = size;
        sums[d]! += size;
      }
    }
    const bounds: Bounds = { most, total: sums.reduce((a, b) => (a > b ? a : b), 0) };
    if (bounds.total * EMBED_LIMIT >= FLOAT64_EXACT) throw new Error("a mixed kernel is beyond what its limits allow");
    if (chunkOf(bounds, inputs, EMBED_LIMIT)) {
      kernel.layer = core.struct(layerFields(core, at, bounds, inputs, hidden, EMBED_LIMIT));
      return;
    }
    core.release(mark);
    kernel.wide = new Float64Array(inputs * hidden);
    for (let v = 0; v < inputs; v++) row(v, kernel.wide.subarray(v * hidden, (v + 1) * hidden));
  }

  /** What the mask network says of a pattern. */
  private mask(bits: Float32Array): { coefficients: Int32Array; bias: Int32Array } {
    const { core, networks } = this;
    const mark = core.mark();
    const through = (name: string, x: ArrayLike<number>) => {
      const outputs = networks.layers[name]!.outputs;
      const out = core.alloc(4 * outputs);
      networks.apply(name, core.putFloats(x), 1, out);
      return core.i32(out, outputs).slice();
    };
    const state = through("mask_in", bits);
    const coefficients = through("mask_mix", state);
    const bias = through("mask_bias", state);
    core.release(mark);
    return { coefficients, bias };
  }
}

