/** How a model file stores the integer networks (docs/SPEC.md, section 12.1). */
import { Corrupt } from "./errors.js";
import { type Config, type Tensor, between, featuresOf, integers, latentOf } from "./model.js";

const QUALITIES = 100;
const MAGNITUDES = 65_536;
const MAGNITUDE_LIMIT = 8191;
const KNOTS = ["quality.hidden", "quality.outlet", "quality.z_mean"];
const AGAIN = "fetch or export the model again";

/** Shape of every weight, by its layer. */
export function weightShapes(config: Config): Record<string, number[]> {
  const [first, second, third] = config.hyper_widths as [number, number, number];
  const side = 2 * config.radius + 1;
  const groups = config.group_sizes.length;
  const bits = side * side * groups;
  const { hidden, mask_hidden: state, z_channels: z } = config;
  const shapes: Record<string, number[]> = {
    conv1: [9 * z, first],
    up1: [first, 4 * second],
    conv2: [9 * second, second],
    up2: [second, 4 * third],
    hyper: [third, hidden],
    mask_in: [bits, state],
    mask_mix: [state, config.bases * bits],
    mask_bias: [state, hidden],
    bases: [config.bases, side * side, featuresOf(config), hidden],
    hidden: [hidden, hidden],
    late_in: [2, latentOf(config), config.late],
    late_out: [groups, config.late, hidden],
    outlet: [hidden, 2 * latentOf(config)],
  };
  config.group_sizes.forEach((size, group) => (shapes[`embed${group}`] = [2 * size, config.embed_sizes[group]!]));
  return shapes;
}

/** Names of all tensors of the integer networks, without `exact.`. */
export function exactNames(config: Config): string[] {
  const layers = Object.keys(weightShapes(config));
  const biases = layers.filter((layer) => !["bases", "late_out", "outlet"].includes(layer));
  return [
    ...layers.flatMap((layer) => [`${layer}.weight`, `${layer}.shift`]),
    ...biases.map((layer) => `${layer}.bias`),
    ...KNOTS,
    "quality.z_index",
    "magnitude",
  ];
}

/** Compare what is packed with the configuration, before anything of its size is allocated. @throws Corrupt */
export function checkPacked(tensors: Map<string, Tensor>, config: Config): void {
  for (const [layer, shape] of Object.entries(weightShapes(config))) {
    const { dtype, shape: stored, data } = tensors.get(`exact.${layer}.weight`)!;
    const bits = data[0] ?? 0;
    const used = product(shape) * bits;
    const fits = dtype === "|u1" && stored.length === 1 && bits >= 2 && bits <= 16 && data.length === 1 + Math.ceil(used / 8);
    if (!fits || (used % 8 && data[data.length - 1]! >> (used % 8)))
      throw new Corrupt(`exact.${layer}.weight of the model file does not hold ${product(shape)} integers; ${AGAIN}`);
  }
  const widths = [config.hidden, 2 * latentOf(config), config.z_channels];
  KNOTS.forEach((name, index) => {
    const tensor = tensors.get(`exact.${name}`)!;
    if (tensor.dtype !== "<i4" || tensor.shape.join() !== `${config.knots},${widths[index]}`)
      throw new Corrupt(`exact.${name} of the model file does not fit its configuration; ${AGAIN}`);
  });
  const gaps = tensors.get("exact.magnitude")!;
  const last = gaps.data.reduce((sum, gap) => sum + gap, 0);
  if (gaps.dtype !== "|u1" || gaps.shape.length !== 1 || gaps.data.length > MAGNITUDE_LIMIT || last >= MAGNITUDES)
    throw new Corrupt(`exact.magnitude of the model file is no table of magnitudes; ${AGAIN}`);
}

export function product(shape: number[]): number {
  return shape.reduce((total, side) => total * side, 1);
}

/** Integers of so many bits each as the first byte says, lowest bits first. */
export function unpackIntegers(data: Uint8Array, count: number): Int16Array {
  const width = data[0]!;
  const out = new Int16Array(count);
  const unused = 32 - width;
  let held = 0;
  let bits = 0;
  let at = 1;
  for (let i = 0; i < count; i++) {
    while (bits < width) {
      held |= data[at++]! << bits;
      bits += 8;
    }
    out[i] = (held << unused) >> unused;
    held >>>= width;
    bits -= width;
  }
  return out;
}

/** The row of a quality from integers at knots: linear between them, rounded to the nearest integer. */
export function rowOf(tensor: Tensor, quality: number, knots: number): Int32Array {
  return rowAt(integers(tensor), tensor.shape[1]!, quality, knots);
}

function rowAt(values: Float64Array, length: number, quality: number, knots: number): Int32Array {
  const { low, high, part } = between(quality, knots);
  const [first, second] = [low * length, high * length];
  const row = new Int32Array(length);
  for (let i = 0; i < length; i++)
    row[i] = Math.floor((values[first + i]! * (99 - part) + values[second + i]! * part + 49) / 99);
  return row;
}

/** Largest magnitude of each entry of the rows of all qualities. */
export function largestRow(tensor: Tensor, knots: number): Float64Array {
  const values = integers(tensor);
  const largest = new Float64Array(tensor.shape[1]!);
  for (let quality = 1; quality <= QUALITIES; quality++) {
    const row = rowAt(values, largest.length, quality, knots);
    for (let i = 0; i < row.length; i++) largest[i] = Math.max(largest[i]!, Math.abs(row[i]!));
  }
  return largest;
}

/** Log magnitudes of 0, 1, ... 65535, from the distances between the places where they rise. */
export function unpackMagnitudes(gaps: Uint8Array): Int16Array {
  const table = new Int16Array(MAGNITUDES);
  let place = 0;
  for (const gap of gaps) table[(place += gap)]! += 1;
  for (let n = 1; n < MAGNITUDES; n++) table[n]! += table[n - 1]!;
  return table;
}
