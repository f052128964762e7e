/** The C core (native/tadan_core.h) in WebAssembly: its functions, its memory, its structures. */
import { OutOfMemory, Unexpected } from "./errors.js";

/** Exported functions; pointers are numbers, int64_t are bigints. */
interface Functions {
  memory: WebAssembly.Memory;
  __heap_base: WebAssembly.Global;
  tadan_kernel(): number;
  tadan_apply(force: number, layer: number, x: number, wide: number, n: bigint, stride: bigint, out: number): void;
  tadan_scratch(twin: number, inputs: bigint): bigint;
  tadan_hidden(f: number, twin: number, window: number, hyper: number, rows: number, embedded: number, starts: number, n: bigint, out: number): void;
  tadan_predict(f: number, twin: number, group: number, hidden: number, late: number, rows: number, bias: number, bias32: number, n: bigint, mean: number, index: number): void;
  tadan_reveal(f: number, twin: number, group: number, yHat: number, rows: number, starts: number, n: bigint, embedded: number, late: number): void;
  tadan_pull(stack: number, words: number, tables: number, starts: number, widths: number, count: number, index: number, n: bigint, most: number, order: number, symbols: number): number;
  tadan_decode_step(f: number, step: number, stack: number, words: number, tables: number, starts: number, widths: number, count: number, most: number): number;
  tadan_inlet(f: number, layer: number, x: number, n: bigint, out: number): void;
  tadan_wide_block(f: number, block: number, gains: number, x: number, area: number, n: bigint, out: number, positive: number): void;
  tadan_render(f: number, renderer: number, gains: number, body: number, cols: bigint, n: bigint, picture: number): void;
}

export const OUTPUTS = 16; // TADAN_OUTPUTS
export const CHUNK = 48; // TADAN_CHUNK
const PAGE = 65_536;

/** A field of a structure: an address or int32 ("i"), an int64 ("q"), or a structure inside it. */
export type Field = ["i" | "q", number] | Field[];

/** Fields that hold 32 bits each. */
export function words(...values: number[]): Field[] {
  return values.map((value) => ["i", value]);
}

/** Fields that hold 64 bits each. */
export function longs(...values: number[]): Field[] {
  return values.map((value) => ["q", value]);
}

/**
 * One instance of the core with its memory, which is handed out from below and given back from above:
 * what was allocated after `mark` goes with `release`.
 */
export class Core {
  readonly run: Functions;
  private top: number;

  constructor(module: WebAssembly.Module) {
    this.run = new WebAssembly.Instance(module, {}).exports as unknown as Functions;
    this.top = this.run.__heap_base.value as number;
  }

  /** Name of the kernel that multiplies: "simd128" or "scalar". */
  get kernel(): string {
    const bytes = new Uint8Array(this.run.memory.buffer, this.run.tadan_kernel(), 16);
    return String.fromCharCode(...bytes.subarray(0, bytes.indexOf(0)));
  }

  mark(): number {
    return this.top;
  }

  release(mark: number): void {
    this.top = mark;
  }

  /** Address of so many bytes, a multiple of 16; they hold anything. @throws OutOfMemory */
  alloc(bytes: number): number {
    const at = Math.ceil(this.top / 16) * 16;
    const end = at + bytes;
    const missing = end - this.run.memory.buffer.byteLength;
    if (missing > 0) {
      try {
        if (end > 2 ** 31) throw new RangeError("beyond 2 GB");
        this.run.memory.grow(Math.ceil(missing / PAGE));
      } catch (error) {
        throw new OutOfMemory("not enough memory to decode the picture; show a smaller region", { cause: error });
      }
    }
    this.top = end;
    return at;
  }

  /** As alloc, filled with zeros. */
  zeros(bytes: number): number {
    const at = this.alloc(bytes);
    this.u8(at, bytes).fill(0);
    return at;
  }

  u8(at: number, length: number): Uint8Array {
    return new Uint8Array(this.run.memory.buffer, at, length);
  }

  i16(at: number, length: number): Int16Array {
    return new Int16Array(this.run.memory.buffer, at, length);
  }

  i32(at: number, length: number): Int32Array {
    return new Int32Array(this.run.memory.buffer, at, length);
  }

  f32(at: number, length: number): Float32Array {
    return new Float32Array(this.run.memory.buffer, at, length);
  }

  /** Put 16-bit integers into memory. */
  put16(values: ArrayLike<number>): number {
    const at = this.alloc(2 * values.length);
    this.i16(at, values.length).set(values);
    return at;
  }

  /** Put 32-bit integers into memory; larger ones are cut, as nobody reads them. */
  put32(values: ArrayLike<number>): number {
    const at = this.alloc(4 * values.length);
    const view = this.i32(at, values.length);
    for (let i = 0; i < values.length; i++) view[i] = Math.min(Math.max(values[i]!, -(2 ** 31)), 2 ** 31 - 1);
    return at;
  }

  /** Put integers of at most 53 bits into memory, as int64. */
  put64(values: ArrayLike<number>): number {
    const at = this.alloc(8 * values.length);
    const view = this.i32(at, 2 * values.length);
    if (values instanceof Int32Array) {
      for (let i = 0; i < values.length; i++) {
        view[2 * i] = values[i]!;
        view[2 * i + 1] = values[i]! >> 31;
      }
      return at;
    }
    for (let i = 0; i < values.length; i++) {
      view[2 * i] = values[i]! | 0;
      if (Math.abs(values[i]!) >= 2 ** 31) view[2 * i] = Number(BigInt.asIntN(32, BigInt(values[i]!)));
      view[2 * i + 1] = Math.floor(values[i]! / 2 ** 32);
    }
    return at;
  }

  putFloats(values: ArrayLike<number>): number {
    const at = this.alloc(4 * values.length);
    this.f32(at, values.length).set(values);
    return at;
  }

  /** Put structures of one kind into memory, one after the other. */
  structs(all: Field[][]): number {
    const size = sizeOf(all[0]!);
    const at = this.alloc(size * all.length);
    const view = new DataView(this.run.memory.buffer);
    all.forEach((fields, index) => write(view, at + size * index, fields));
    return at;
  }

  struct(fields: Field[]): number {
    return this.structs([fields]);
  }

  /** Who works: `tadan_force` with scratch of its own. */
  force(bytes: number): number {
    return this.struct([...words(0, this.alloc(bytes)), ["q", bytes]]);
  }
}

function alignOf(fields: Field[]): number {
  return Math.max(...fields.map((field) => (isGroup(field) ? alignOf(field) : field[0] === "q" ? 8 : 4)));
}

function sizeOf(fields: Field[]): number {
  const align = alignOf(fields);
  let at = 0;
  for (const field of fields) {
    const own = isGroup(field) ? alignOf(field) : field[0] === "q" ? 8 : 4;
    at = Math.ceil(at / own) * own + (isGroup(field) ? sizeOf(field) : own);
  }
  return Math.ceil(at / align) * align;
}

function write(view: DataView, start: number, fields: Field[]): void {
  let at = start;
  for (const field of fields) {
    if (isGroup(field)) {
      const own = alignOf(field);
      at = Math.ceil(at / own) * own;
      write(view, at, field);
      at += sizeOf(field);
    } else if (field[0] === "q") {
      at = Math.ceil(at / 8) * 8;
      view.setBigInt64(at, BigInt(field[1]), true);
      at += 8;
    } else {
      view.setInt32(at, field[1], true);
      at += 4;
    }
  }
}

function isGroup(field: Field): field is Field[] {
  return typeof field[0] !== "string";
}

/** The smallest module with a SIMD instruction: `i32x4.splat` inside a function. */
const SIMD_PROBE = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
];

export function hasSimd(): boolean {
  return WebAssembly.validate(new Uint8Array(SIMD_PROBE));
}

/** @throws Unexpected the bytes are no such module, or the page's policy forbids WebAssembly */
export async function compile(bytes: BufferSource): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    throw new Unexpected(
      `the decoder's WebAssembly cannot be compiled (${(error as Error).message}); ` +
        "a Content-Security-Policy needs script-src 'wasm-unsafe-eval'",
      { cause: error },
    );
  }
}
