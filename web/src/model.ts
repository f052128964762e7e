/** The model file: configuration, tensors and identity (docs/SPEC.md, section 12). */
import { hex } from "./bytes.js";
import { Corrupt, NotOurFile, UnsupportedVersion } from "./errors.js";
import { exactNames, checkPacked } from "./packing.js";
import { sha256 } from "./sha256.js";

/** Sizes of the networks that decoders read; names as in the file. */
export interface Config {
  group_sizes: number[];
  embed_sizes: number[];
  hyper_widths: number[];
  z_channels: number;
  radius: number;
  hidden: number;
  late: number;
  mask_hidden: number;
  bases: number;
  knots: number;
  body_width: number;
  body_blocks: number;
  body_expansion: number;
  kernel: number;
  grid: number;
  grid_hidden: number;
  grid_blocks: number;
}

const SIZES = [
  ..."z_channels radius hidden late mask_hidden bases knots body_width body_blocks body_expansion kernel grid".split(" "),
  ..."grid_hidden grid_blocks analysis_width analysis_blocks analysis_expansion".split(" "),
];
const REALS = ["lambda_min", "lambda_max"];
const LISTS = ["group_sizes", "embed_sizes", "hyper_widths"];
const ENCODERS = /^(graph\.(g_a|h_a|g_s_gradient)|quality\.log_(g_a|gain)|search\.curvature|format\..*)$/;
const DECODERS = ["quality.log_inverse_gain", "quality.log_g_s", "graph.g_s", "weights.g_s", "tables.half_widths", "tables.freqs"];
const DTYPES: Record<string, [string, number]> = {
  U8: ["|u1", 1],
  I8: ["|i1", 1],
  I16: ["<i2", 2],
  I32: ["<i4", 4],
  I64: ["<i8", 8],
  U32: ["<u4", 4],
  F16: ["<f2", 2],
  F32: ["<f4", 4],
};
export const STRIDE = 16;
const MOST_LOG_GAIN = 64;
const AGAIN = "fetch or export the model again";

export interface Tensor {
  dtype: string;
  shape: number[];
  /** Little-endian, row-major. */
  data: Uint8Array;
}

export interface Model {
  config: Config;
  tensors: Map<string, Tensor>;
  /** Content id, hexadecimal. */
  id: string;
  /** Id of the model whose files it decodes: its own, or that of the model whose lite decoder it holds. */
  decodes: string;
  name: string;
}

export function latentOf(config: Config): number {
  return config.group_sizes.reduce((sum, size) => sum + size, 0);
}

export function featuresOf(config: Config): number {
  return config.embed_sizes.reduce((sum, size) => sum + size, 0);
}

/** How many positions of y beyond a pixel's own can change it. */
export function reachOf(config: Config): number {
  return config.body_blocks * Math.floor(config.kernel / 2);
}

/**
 * Read and check a model file, with or without what encoders read.
 *
 * @throws NotOurFile, UnsupportedVersion, Corrupt
 */
export async function readModel(data: Uint8Array): Promise<Model> {
  const { metadata, tensors } = readSafetensors(data);
  if (metadata.format !== "tadan-model") throw new NotOurFile("a safetensors file, but not a model of Tadan");
  if (metadata.format_version !== "1") throw new UnsupportedVersion("the model needs a newer tadan-web; update it");
  const text = metadata.config ?? "{}";
  const config = readConfig(text);
  const known = new Set([...exactNames(config).map((name) => `exact.${name}`), ...DECODERS]);
  for (const name of tensors.keys())
    if (!known.has(name) && !ENCODERS.test(name))
      throw new Corrupt(`the model file holds the tensor ${name}, which no model has; ${AGAIN}`);
  const facts = [canonical(text), canonical(metadata.interface ?? "{}")];
  const own = [...tensors].filter(([name]) => !ENCODERS.test(name));
  const id = await contentId(facts, own);
  const rest = [...tensors].filter(([name]) => ENCODERS.test(name));
  const encoder = rest.length ? await contentId(facts, rest) : undefined;
  if (metadata.id !== id || metadata.encoder !== encoder)
    throw new Corrupt(`the model file does not match its own id ${metadata.id ?? ""}; ${AGAIN}`);
  const wanted = `{"context": "mixed-kernels", "reach": ${reachOf(config)}, "stride": ${STRIDE}}`;
  if (metadata.interface !== wanted)
    throw new UnsupportedVersion(`the model has the interface ${metadata.interface}, not this version's; update tadan-web`);
  for (const name of known)
    if (!tensors.has(name)) throw new Corrupt(`the model file lacks the tensor ${name}; ${AGAIN}`);
  checkGains(tensors, config);
  checkPacked(tensors, config);
  return { config, tensors, id, decodes: metadata.decodes ?? id, name: metadata.name ?? "unnamed" };
}

/** @throws NotOurFile the bytes are no safetensors file */
function readSafetensors(data: Uint8Array): { metadata: Record<string, string>; tensors: Map<string, Tensor> } {
  const refused = new NotOurFile("not a model file (.safetensors) of Tadan; check the address of the weights");
  if (data.length < 8) throw refused;
  const length = Number(new DataView(data.buffer, data.byteOffset, 8).getBigUint64(0, true));
  if (length > data.length - 8) throw refused;
  let header: Record<string, unknown>;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data.subarray(8, 8 + length)));
  } catch {
    throw refused;
  }
  const tensors = new Map<string, Tensor>();
  const places: [number, number][] = [];
  const first = 8 + length;
  for (const [name, entry] of Object.entries(header ?? {})) {
    if (name === "__metadata__") continue;
    const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as { dtype: string; shape: number[]; data_offsets: [number, number] };
    const kind = DTYPES[dtype];
    if (!kind || !areSizes(shape) || !areSizes(offsets) || offsets.length !== 2) throw refused;
    const bytes = shape.reduce((product, side) => product * side, kind[1]);
    const [start, end] = offsets;
    if (end - start !== bytes || first + end > data.length) throw refused;
    places.push([start, end]);
    tensors.set(name, { dtype: kind[0], shape, data: data.subarray(first + start, first + end) });
  }
  let at = first;
  for (const [start, end] of places.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    if (first + start !== at) throw refused;
    at = first + end;
  }
  if (at !== data.length) throw refused;
  const metadata = header.__metadata__ ?? {};
  if (typeof metadata !== "object" || Object.values(metadata).some((value) => typeof value !== "string")) throw refused;
  return { metadata: metadata as Record<string, string>, tensors };
}

function areSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((one) => Number.isSafeInteger(one) && one >= 0);
}

function readConfig(text: string): Config {
  const refused = new Corrupt(`the model's configuration is not one that this version knows; update tadan-web, or ${AGAIN}`);
  let config: Record<string, unknown>;
  try {
    config = JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw refused;
  }
  if (config === null || typeof config !== "object" || config.design !== "renderer") throw refused;
  const keys = ["design", ...SIZES, ...REALS, ...LISTS].sort().join();
  if (Object.keys(config).sort().join() !== keys) throw refused;
  const isSize = (value: unknown) => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65_536;
  for (const key of SIZES) if (!isSize(config[key])) throw refused;
  for (const key of LISTS) {
    const list = config[key];
    if (!Array.isArray(list) || !list.every(isSize)) throw refused;
  }
  for (const key of REALS) if (typeof config[key] !== "number" || !(config[key] > 0)) throw refused;
  const own = config as unknown as Config;
  if (own.hyper_widths.length !== 3 || own.kernel % 2 === 0) throw refused;
  const groups = own.group_sizes.length;
  if (!groups || groups > 16 || groups !== own.embed_sizes.length) throw refused;
  return own;
}

/** JSON of a flat object as Python writes it with sorted keys; numbers stay as they are spelled. */
function canonical(text: string): string {
  const entries = [...text.matchAll(/"([^"]*)"\s*:\s*("[^"]*"|\[[^\]]*\]|[^,}\s]+)/g)];
  const parts = entries.map(([, key, value]) => `"${key}": ${value!.replace(/\s*,\s*/g, ", ")}`);
  return `{${parts.sort().join(", ")}}`;
}

async function contentId(facts: string[], tensors: [string, Tensor][]): Promise<string> {
  const encoder = new TextEncoder();
  const parts = facts.map((fact) => encoder.encode(fact));
  for (const [name, { dtype, shape, data }] of tensors.sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (const text of [name, dtype, shape.join(",")]) parts.push(encoder.encode(text));
    parts.push(data as Uint8Array<ArrayBuffer>);
  }
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + 8 + part.length, 0));
  const view = new DataView(whole.buffer);
  let at = 0;
  for (const part of parts) {
    view.setBigUint64(at, BigInt(part.length), true);
    whole.set(part, at + 8);
    at += 8 + part.length;
  }
  return hex((await sha256(whole)).subarray(0, 16));
}

function checkGains(tensors: Map<string, Tensor>, config: Config): void {
  const lengths = {
    "quality.log_inverse_gain": latentOf(config),
    "quality.log_g_s": 2 * config.body_blocks * config.body_width + config.grid_blocks * config.grid,
  };
  for (const [name, length] of Object.entries(lengths)) {
    const tensor = tensors.get(name)!;
    const fits = tensor.shape.join() === `${config.knots},${length}` && /f/.test(tensor.dtype);
    if (!fits || !reals(tensor).every((value) => Math.abs(value) <= MOST_LOG_GAIN))
      throw new Corrupt(`${name} of the model file does not fit its configuration; ${AGAIN}`);
  }
}

/** Values of a tensor of integers; those beyond 2^53 are rounded, which no valid model has. */
export function integers(tensor: Tensor): Float64Array {
  const view = new DataView(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
  const read: Record<string, [number, (at: number) => number]> = {
    "|u1": [1, (at) => view.getUint8(at)],
    "|i1": [1, (at) => view.getInt8(at)],
    "<i2": [2, (at) => view.getInt16(at, true)],
    "<i4": [4, (at) => view.getInt32(at, true)],
    "<u4": [4, (at) => view.getUint32(at, true)],
    "<i8": [8, (at) => view.getInt32(at + 4, true) * 2 ** 32 + view.getUint32(at, true)],
  };
  const kind = read[tensor.dtype];
  if (!kind) throw new Corrupt(`a tensor of the model file holds ${tensor.dtype} where integers belong; ${AGAIN}`);
  const [size, get] = kind;
  const values = new Float64Array(tensor.data.length / size);
  for (let i = 0; i < values.length; i++) values[i] = get(size * i);
  return values;
}

/** Values of a tensor of float16 or float32. */
export function reals(tensor: Tensor): Float32Array {
  if (tensor.dtype === "<f4") return new Float32Array(tensor.data.slice().buffer);
  if (tensor.dtype === "<f2") return halves(tensor.data);
  throw new Corrupt(`a tensor of the model file holds ${tensor.dtype} where real numbers belong; ${AGAIN}`);
}

/** IEEE half precision, little-endian, widened. */
export function halves(data: Uint8Array): Float32Array {
  const out = new Float32Array(data.length / 2);
  const bits = new Uint32Array(out.buffer);
  for (let i = 0; i < out.length; i++) {
    const half = data[2 * i]! | (data[2 * i + 1]! << 8);
    const sign = (half & 0x8000) << 16;
    const exponent = (half >> 10) & 31;
    const mantissa = half & 1023;
    if (exponent === 31) bits[i] = sign | 0x7f800000 | (mantissa << 13);
    else if (exponent) bits[i] = sign | ((exponent + 112) << 23) | (mantissa << 13);
    else out[i] = (sign ? -1 : 1) * mantissa * 2 ** -24;
  }
  return out;
}

/** Factors of a quality from logarithms at knots (docs/SPEC.md, section 12.2). */
export function factors(model: Model, name: string, quality: number): Float32Array {
  const tensor = model.tensors.get(name)!;
  const knots = reals(tensor);
  const length = tensor.shape[1]!;
  const { low, high, part } = between(quality, model.config.knots);
  return Float32Array.from({ length }, (_, i) =>
    Math.exp((knots[low * length + i]! * (99 - part) + knots[high * length + i]! * part) / 99),
  );
}

/** Where a quality lies among equally spaced knots, in 99ths. */
export function between(quality: number, knots: number): { low: number; high: number; part: number } {
  const position = (quality - 1) * (knots - 1);
  const low = Math.floor(position / 99);
  return { low, high: Math.min(low + 1, knots - 1), part: position - 99 * low };
}
