/** The integer networks of a model in the core's memory (docs/SPEC.md, section 9; tadan/exact/network.py). */
import { CHUNK, type Core, OUTPUTS, longs, words } from "./core.js";
import { Corrupt } from "./errors.js";
import { Kernels } from "./kernels.js";
import { type Layer, MAX_NARROW_SHIFT, type Rounding, beyond, checkLayer, largest, makeLayer } from "./layers.js";
import { type Config, type Model, type Tensor, featuresOf, integers, latentOf } from "./model.js";
import { largestRow, product, rowOf, unpackIntegers, unpackMagnitudes, weightShapes } from "./packing.js";
import { Tables } from "./tables.js";

export const Y_LIMIT = 2 ** 19 - 1;
const Z_LIMIT = 2 ** 14 - 1;
export const EMBED_LIMIT = 2 ** 13 - 1;
export const ACTIVATION_LIMIT = 2 ** 13 - 1;
const MASK_LIMIT = 2 ** 16 - 1;
const MAGNITUDE_LIMIT = 2 ** 13 - 1;
export const PRE_EXTRA = 5;
export const PRE_LIMIT = 2 ** 23 - 1;
const COEFFICIENT_LIMIT = 2 ** 15 - 1;
const SCALES = 64;
const AGAIN = "fetch or export the model again";

/** Rows of a quality. */
export interface QualityRows {
  hidden: Int32Array;
  zMean: Int32Array;
  zIndex: Uint8Array;
  /** The outlet's bias of each group, means first, rounded up to 16. */
  outlet: Int32Array[];
}

/** Channels of y of each group, summed up to it. */
function starts(sizes: number[]): number[] {
  let sum = 0;
  return sizes.map((size) => (sum += size) - size);
}

export class Networks {
  readonly config: Config;
  readonly latent: number;
  readonly features: number;
  readonly channelStarts: number[];
  readonly tables: Tables;
  readonly kernels: Kernels;
  /** Addresses of `tadan_twin`, of `tadan_force` for it, and of layers. */
  readonly twin: number;
  readonly force: number;
  readonly layers: Record<string, { at: number } & Layer> = {};
  readonly baseShift: Float64Array;
  private readonly rows = new Map<number, QualityRows>();
  private readonly tensors: Map<string, Tensor>;

  /** @throws Corrupt, UnsupportedVersion */
  constructor(
    readonly core: Core,
    model: Model,
  ) {
    const config = (this.config = model.config);
    this.tensors = model.tensors;
    this.latent = latentOf(config);
    this.features = featuresOf(config);
    this.channelStarts = starts(config.group_sizes);
    this.checkShapes();
    this.tables = new Tables(core, this.tensors.get("tables.half_widths")!, this.tensors.get("tables.freqs")!);
    const relu: [number, number] = [0, ACTIVATION_LIMIT];
    const signed: [number, number] = [-PRE_LIMIT, PRE_LIMIT];
    this.add("conv1", Z_LIMIT, relu);
    for (const name of ["up1", "conv2", "up2"]) this.add(name, ACTIVATION_LIMIT, relu);
    for (const name of ["hyper", "hidden"]) this.add(name, ACTIVATION_LIMIT, signed);
    this.add("mask_in", 1, [0, MASK_LIMIT]);
    this.add("mask_mix", MASK_LIMIT, [-COEFFICIENT_LIMIT, COEFFICIENT_LIMIT]);
    this.add("mask_bias", MASK_LIMIT, signed);
    this.baseShift = this.values("bases.shift");
    // Two terms of at most PRE_LIMIT are added to hyper, whose bias by quality may be anything of 32 bits.
    const hyperBias = largestRow(this.tensors.get("exact.quality.hidden")!, config.knots);
    if (largest(this.baseShift) > MAX_NARROW_SHIFT || largest(hyperBias) > 2 ** 30) throw beyond();
    this.twin = this.makeTwin();
    const window = (2 * config.radius + 1) ** 2 * this.features;
    const widths = Object.values(this.layers).map(({ inputs, outputs }) => inputs + 1 + outputs + OUTPUTS - 1);
    const scratch = Number(core.run.tadan_scratch(this.twin, BigInt(window)));
    this.force = core.force(Math.max(scratch, 4 * CHUNK * Math.max(...widths)));
    this.kernels = new Kernels(this, this.weight("bases"));
  }

  /** Run a layer on rows of float32 integers at `x`; the result, int32 [n][outputs], is at `out`. */
  apply(name: string, x: number, n: number, out: number): void {
    const { at, inputs } = this.layers[name]!;
    this.core.run.tadan_apply(this.force, at, x, 0, BigInt(n), BigInt(inputs), out);
  }

  /** Rows of a quality; made once. */
  quality(quality: number): QualityRows {
    const known = this.rows.get(quality);
    if (known) return known;
    const { config } = this;
    const outlet = this.knots("quality.outlet", quality);
    const rows = {
      hidden: this.knots("quality.hidden", quality),
      zMean: this.knots("quality.z_mean", quality),
      zIndex: this.tensors.get("exact.quality.z_index")!.data.subarray((quality - 1) * config.z_channels, quality * config.z_channels),
      outlet: config.group_sizes.map((_, group) => {
        const own = this.outletColumns(group);
        const bias = new Int32Array(Math.ceil(own.length / OUTPUTS) * OUTPUTS);
        own.forEach((column, i) => (bias[i] = outlet[column]!));
        return bias;
      }),
    };
    this.rows.set(quality, rows);
    return rows;
  }

  private values(name: string): Float64Array {
    return integers(this.tensors.get(`exact.${name}`)!);
  }

  private knots(name: string, quality: number): Int32Array {
    return rowOf(this.tensors.get(`exact.${name}`)!, quality, this.config.knots);
  }

  private weight(layer: string): Int16Array {
    return unpackIntegers(this.tensors.get(`exact.${layer}.weight`)!.data, product(weightShapes(this.config)[layer]!));
  }

  private add(name: string, limit: number, [low, high]: [number, number]): Layer {
    const outputs = weightShapes(this.config)[name]![1]!;
    const rounding = { bias: this.values(`${name}.bias`), shift: this.values(`${name}.shift`), low: [low], high: [high] };
    const layer = makeLayer(this.core, this.weight(name), outputs, limit, rounding);
    this.layers[name] = { ...layer, at: this.core.struct(layer.fields) };
    return layer;
  }

  /** Columns of the outlet that are a group's: its means, then its scale indices. */
  private outletColumns(group: number): number[] {
    const first = this.channelStarts[group]!;
    const own = Array.from({ length: this.config.group_sizes[group]! }, (_, i) => first + i);
    return [...own, ...own.map((column) => column + this.latent)];
  }

  private makeTwin(): number {
    const { core, config, latent } = this;
    const { hidden, late, group_sizes: sizes, embed_sizes: embeds } = config;
    const embed = sizes.map((_, group) => this.add(`embed${group}`, Y_LIMIT, [-EMBED_LIMIT, EMBED_LIMIT]));
    const lateIn = this.weight("late_in");
    const lateBias = this.values("late_in.bias");
    const lateShift = this.values("late_in.shift");
    // Proven for all channels together: a sum of any of them is then exact too.
    const bounds = new Float64Array(late);
    lateIn.forEach((value, index) => (bounds[index % late]! += Math.abs(value)));
    checkLayer(largest(bounds) * Y_LIMIT, { bias: lateBias, shift: lateShift, low: [0], high: [0] });
    const into = sizes.map((size, group) => {
      const rows = [0, 1].map((half) => {
        const first = (half * latent + this.channelStarts[group]!) * late;
        return lateIn.subarray(first, first + size * late);
      });
      const own = new Int16Array(2 * size * late);
      own.set(rows[0]!);
      own.set(rows[1]!, size * late);
      return makeLayer(core, own, late, Y_LIMIT);
    });
    const outOf = this.weight("late_out");
    const outShift = this.values("late_out.shift");
    const out = sizes.map((_, group) =>
      makeLayer(core, outOf.subarray(group * late * hidden, (group + 1) * late * hidden), hidden, ACTIVATION_LIMIT, {
        bias: [0],
        shift: outShift.subarray(group * hidden, (group + 1) * hidden),
        low: [-PRE_LIMIT],
        high: [PRE_LIMIT],
      }),
    );
    const outlet = this.makeOutlets();
    const magnitude = unpackMagnitudes(this.tensors.get("exact.magnitude")!.data);
    const half = lateBias.map((bias, index) => bias + Math.floor(2 ** (lateShift[index % late]! - 1)));
    const arrays = [embed, into, out, outlet].map((layers) => core.structs(layers.map((layer) => layer.fields)));
    return core.struct([
      ...words(this.layers.hidden!.at, ...arrays, core.put32([...sizes, 0]), core.put32(starts(embeds))),
      ...words(core.put32(this.baseShift), core.put64(lateShift), core.put64(half), core.put16(magnitude)),
      ...longs(magnitude.length, hidden, late, this.features),
      ...words(Y_LIMIT, ACTIVATION_LIMIT, PRE_LIMIT, PRE_EXTRA, largest(magnitude)),
    ]);
  }

  private makeOutlets(): Layer[] {
    const { core, config, latent } = this;
    const weight = this.weight("outlet");
    const shift = this.values("outlet.shift");
    const most = largestRow(this.tensors.get("exact.quality.outlet")!, config.knots);
    return config.group_sizes.map((_, group) => {
      const own = this.outletColumns(group);
      const columns = new Int16Array(config.hidden * own.length);
      for (let i = 0; i < config.hidden; i++)
        own.forEach((column, j) => (columns[i * own.length + j] = weight[i * 2 * latent + column]!));
      const rounding: Rounding = {
        bias: own.map((column) => most[column]!), // each call brings its quality's row
        shift: own.map((column) => shift[column]!),
        low: own.map((column) => (column < latent ? -Y_LIMIT : 0)),
        high: own.map((column) => (column < latent ? Y_LIMIT : SCALES - 1)),
      };
      return makeLayer(core, columns, own.length, ACTIVATION_LIMIT, rounding);
    });
  }

  /** Shapes and ranges of the tensors that are stored as they are used. @throws Corrupt */
  private checkShapes(): void {
    const { config, latent } = this;
    const groups = config.group_sizes.length;
    const expected: Record<string, number[]> = {
      "bases.shift": [config.hidden],
      "late_in.bias": [groups, config.late],
      "late_in.shift": [config.late],
      "late_out.shift": [groups, config.hidden],
      "outlet.shift": [2 * latent],
      "quality.z_index": [100, config.z_channels],
    };
    for (const [layer, shape] of Object.entries(weightShapes(config)))
      if (shape.length === 2 && layer !== "outlet")
        for (const part of ["bias", "shift"]) expected[`${layer}.${part}`] = [shape[1]!];
    for (const [name, shape] of Object.entries(expected))
      if (this.tensors.get(`exact.${name}`)!.shape.join() !== shape.join())
        throw new Corrupt(`exact.${name} of the model file does not fit its configuration; ${AGAIN}`);
    const zIndex = this.values("quality.z_index");
    const shifts = this.values("bases.shift");
    const rises = this.tensors.get("exact.magnitude")!.data.length;
    const inRange = zIndex.every((index) => index >= 0 && index < SCALES) && shifts.every((one) => one >= 0 && one <= 40);
    if (!inRange || rises > MAGNITUDE_LIMIT || this.tensors.get("exact.quality.z_index")!.dtype !== "|u1")
      throw new Corrupt(`the model file holds table entries or shifts out of range; ${AGAIN}`);
  }
}
