/** Float weights of g_s, read from the tensors of its ONNX graph; field numbers are those of onnx.proto3. */
import { Corrupt } from "./errors.js";
import { halves } from "./model.js";
import { product } from "./packing.js";

const [GRAPH, INITIALIZER] = [7, 5]; // fields of ModelProto and GraphProto
const [DIMS, TYPE, NAME, RAW] = [1, 2, 8, 9]; // of TensorProto
const [INT8, FLOAT16] = [3, 10];
const AGAIN = "fetch or export the model again";

interface Stored {
  type: number;
  count: number;
  data: Uint8Array;
}

/** Weights by name, as 32-bit floats. */
export class Weights {
  private readonly stored = new Map<string, Stored>();

  /** @throws Corrupt the bytes are no ONNX model */
  constructor(parts: Uint8Array[]) {
    for (const part of parts)
      for (const [number, graph] of fields(part))
        if (number === GRAPH)
          for (const [kind, tensor] of fields(message(graph))) if (kind === INITIALIZER) this.take(message(tensor));
  }

  /** A weight or bias; stored in half precision, or as integers of 8 bits with a scale for each group of them. */
  of(name: string, ...shape: number[]): Float32Array {
    const half = this.stored.get(`${name}_half`);
    const whole = this.stored.get(`${name}_int8`);
    const scales = this.stored.get(`${name}_scale_half`);
    let values: Float32Array;
    if (half?.type === FLOAT16) values = halves(half.data);
    else if (whole?.type === INT8 && scales?.type === FLOAT16 && scales.count && whole.count % scales.count === 0) {
      const each = whole.count / scales.count;
      const factors = halves(scales.data);
      const data = new Int8Array(whole.data.buffer, whole.data.byteOffset, whole.count);
      values = new Float32Array(data.length);
      for (let group = 0, i = 0; group < factors.length; group++)
        for (const end = i + each, factor = factors[group]!; i < end; i++) values[i] = data[i]! * factor;
    } else throw new Corrupt(`the graph of the model file lacks ${name}; ${AGAIN}`);
    if (values.length !== product(shape)) throw new Corrupt(`the model file has a ${name} of another size; ${AGAIN}`);
    return values;
  }

  private take(data: Uint8Array): void {
    const shape: number[] = [];
    let [name, type] = ["", 0];
    let raw: Uint8Array = new Uint8Array();
    for (const [number, value] of fields(data)) {
      if (number === DIMS) shape.push(...(typeof value === "number" ? [value] : packed(value)));
      else if (number === TYPE) type = typeof value === "number" ? value : 0;
      else if (number === NAME) name = new TextDecoder().decode(message(value));
      else if (number === RAW) raw = message(value);
    }
    const count = product(shape);
    if (raw.length === count * (type === INT8 ? 1 : 2)) this.stored.set(name, { type, count, data: raw });
  }
}

function broken(): Corrupt {
  return new Corrupt(`the graph of the model file is no ONNX graph; ${AGAIN}`);
}

function message(value: number | Uint8Array): Uint8Array {
  if (typeof value === "number") throw broken();
  return value;
}

function number(data: Uint8Array, at: number): [number, number] {
  let value = 0;
  for (let i = 0; i < 10 && at < data.length; i++) {
    const byte = data[at++]!;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return [value, at];
  }
  throw broken();
}

function packed(data: Uint8Array): number[] {
  const values: number[] = [];
  for (let at = 0; at < data.length; ) {
    const [value, end] = number(data, at);
    values.push(value);
    at = end;
  }
  return values;
}

/** Fields of a protobuf message: number, and a whole number or bytes. */
function* fields(data: Uint8Array): Generator<[number, number | Uint8Array]> {
  for (let at = 0; at < data.length; ) {
    const [key, first] = number(data, at);
    const kind = key % 8;
    let [length, start] = [kind === 1 ? 8 : 4, first];
    if (kind === 0 || kind === 2) [length, start] = number(data, first);
    if (kind === 0) {
      yield [Math.floor(key / 8), length];
      at = start;
      continue;
    }
    if (![1, 2, 5].includes(kind) || start + length > data.length) throw broken();
    yield [Math.floor(key / 8), data.subarray(start, start + length)];
    at = start + length;
  }
}
