/** Integer layers as the core reads them, with the proof that no sum overflows (tadan/exact/native.py). */
import { type Core, type Field, OUTPUTS, longs, words } from "./core.js";
import { Corrupt, UnsupportedVersion } from "./errors.js";

const INT16_MAX = 2 ** 15 - 1;
const INT32_MAX = 2 ** 31 - 1;
const MAX_SHIFT = 40;
const FLOAT64_EXACT = 2 ** 53;
export const MAX_NARROW_SHIFT = 30;

/** A model that is valid, but of numbers so large that the core's 16 and 32 bits do not hold them. */
export function beyond(): UnsupportedVersion {
  return new UnsupportedVersion("the model has numbers beyond what this decoder computes exactly; decode with tadan");
}

/** What follows the product of a layer; each of one value for all outputs, or one for each. */
export interface Rounding {
  bias: ArrayLike<number>;
  shift: ArrayLike<number>;
  low: ArrayLike<number>;
  high: ArrayLike<number>;
}

/** A layer in the core's memory. */
export interface Layer {
  fields: Field[];
  inputs: number;
  outputs: number;
}

/** Statistics that bound the sums of a weight. */
export interface Bounds {
  /** Largest magnitude of a weight, and of the sum of magnitudes of an output. */
  most: number;
  total: number;
}

/** Low bits that are split off an input of at most `limit`: 0 if it fits 16 bits, else half of its bits. */
export function cut(limit: number): number {
  return limit <= INT16_MAX ? 0 : Math.ceil((32 - Math.clz32(limit)) / 2);
}

/** Pairs of inputs whose products can be added in 32 bits, whatever the inputs are; 0 if not even one can. */
export function chunkOf({ most, total }: Bounds, inputs: number, limit: number): number {
  const split = cut(limit);
  const largest = split ? Math.max((limit >> split) + 1, 2 ** split - 1) : limit;
  if (largest > INT16_MAX || most > INT16_MAX) return 0;
  if (total * largest <= INT32_MAX) return Math.max(1, Math.ceil(inputs / 2));
  return Math.floor(INT32_MAX / (2 * largest * most));
}

/** Fields of `tadan_layer` for weights that are packed at `weights`. */
export function layerFields(
  core: Core,
  weights: number,
  bounds: Bounds,
  inputs: number,
  outputs: number,
  limit: number,
  rounding?: Rounding,
): Field[] {
  const chunk = chunkOf(bounds, inputs, limit);
  if (!chunk) throw beyond();
  const padded = Math.ceil(outputs / OUTPUTS) * OUTPUTS;
  const vector = (values: ArrayLike<number>) => {
    const all = new Float64Array(padded);
    for (let i = 0; i < outputs; i++) all[i] = values[values.length === 1 ? 0 : i]!;
    return all;
  };
  let addresses = [0, 0, 0, 0, 0];
  let added = 2 ** MAX_NARROW_SHIFT; // of a product: room for the half of whatever shift follows
  if (rounding) {
    const [bias, shift, low, high] = [rounding.bias, rounding.shift, rounding.low, rounding.high].map(vector);
    addresses = [core.put64(bias!), ...[bias!, shift!, low!, high!].map((values) => core.put32(values))];
    added = largest(bias!) + 2 ** Math.max(...shift!) / 2;
  }
  const narrow = cut(limit) === 0 && bounds.total * limit + added <= INT32_MAX;
  const k = inputs + (inputs % 2);
  const whole = Math.min(INT16_MAX, Math.floor(INT32_MAX / Math.max(1, bounds.total)));
  return [...words(weights, ...addresses), ...longs(inputs, k, outputs, chunk), ...words(cut(limit), +narrow, whole)];
}

export function largest(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]!));
  return most;
}

/** Weights int16 [inputs][outputs] into memory as [block of outputs][pair of inputs][output][input of the pair]. */
export function packWeights(core: Core, weight: Int16Array, inputs: number, outputs: number): [number, Bounds] {
  const k = inputs + (inputs % 2);
  const blocks = Math.ceil(outputs / OUTPUTS);
  const at = core.zeros(2 * k * blocks * OUTPUTS);
  const packed = core.i16(at, k * blocks * OUTPUTS);
  const sums = new Float64Array(outputs);
  let most = 0;
  for (let i = 0; i < inputs; i++) {
    const row = (i >> 1) * 2 * OUTPUTS + (i & 1);
    for (let o = 0; o < outputs; o++) {
      const value = weight[i * outputs + o]!;
      packed[(o >> 4) * k * OUTPUTS + row + (o & 15) * 2] = value;
      const size = value < 0 ? -value : value;
      if (size > most) most = size;
      sums[o]! += size;
    }
  }
  return [at, { most, total: largest(sums) }];
}

/**
 * A layer in memory, from weights [inputs][outputs].
 *
 * @throws Corrupt a shift is out of range or the sums could leave what is exact
 */
export function makeLayer(
  core: Core,
  weight: Int16Array,
  outputs: number,
  limit: number,
  rounding?: Rounding,
): Layer {
  const inputs = weight.length / outputs;
  const [at, bounds] = packWeights(core, weight, inputs, outputs);
  checkLayer(bounds.total * limit, rounding);
  return { fields: layerFields(core, at, bounds, inputs, outputs, limit, rounding), inputs, outputs };
}

/** @throws Corrupt */
export function checkLayer(total: number, rounding?: Rounding): void {
  if (rounding) {
    for (let i = 0; i < rounding.shift.length; i++)
      if (!(rounding.shift[i]! >= 0 && rounding.shift[i]! <= MAX_SHIFT))
        throw new Corrupt(`the model file holds a shift outside 0..${MAX_SHIFT}; fetch it again`);
    total += 2 * largest(rounding.bias) + 2 ** MAX_SHIFT;
  }
  if (total >= FLOAT64_EXACT)
    throw new Corrupt("an integer layer of the model file could overflow; fetch it again or export it again");
}
