/** Where bytes come from. */
import { ascii } from "./bytes.js";
import { InvalidInput, UnreadableInput } from "./errors.js";

/** A file: its bytes, its address, or whatever it arrives from. */
export type Source = Uint8Array | ArrayBuffer | Blob | URL | string | Response | Request | ReadableStream<Uint8Array>;

/** Bytes that arrive piece by piece, in one buffer that grows. */
export class Arriving {
  private buffer = new Uint8Array(2 ** 16);
  private length = 0;

  take(part: Uint8Array): void {
    const needed = this.length + part.length;
    if (needed > this.buffer.length) {
      const larger = new Uint8Array(Math.max(needed, 2 * this.buffer.length));
      larger.set(this.bytes);
      this.buffer = larger;
    }
    this.buffer.set(part, this.length);
    this.length = needed;
  }

  /** All that has arrived; never changed afterwards, as later parts are put behind it. */
  get bytes(): Uint8Array {
    return this.buffer.subarray(0, this.length);
  }
}

/**
 * The bytes of a source.
 *
 * @param arrived called with all bytes so far as parts arrive; true: no more are needed
 * @throws UnreadableInput, InvalidInput
 */
export async function read(
  source: Source,
  signal?: AbortSignal,
  arrived?: (bytes: Uint8Array) => boolean | void,
  init?: RequestInit,
): Promise<Uint8Array> {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  const own = globalThis.TADAN_FILES && /^file:.*\/([^/?#]+)/.exec(String(source))?.[1];
  const carried = own && brought(decodeURIComponent(own));
  if (carried) return carried;
  const stream = await streamOf(source, signal, init);
  const all = new Arriving();
  const reader = stream.getReader();
  const stop = () => void reader.cancel(signal?.reason).catch(() => {});
  signal?.addEventListener("abort", stop, { once: true });
  try {
    for (;;) {
      const { value, done } = await reader.read();
      signal?.throwIfAborted();
      if (done) return all.bytes;
      if (!(value instanceof Uint8Array)) throw new InvalidInput("a stream of a file gives Uint8Array");
      all.take(value);
      if (arrived?.(all.bytes)) {
        reader.cancel().catch(() => {});
        return all.bytes;
      }
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    signal?.throwIfAborted();
    if (error instanceof TypeError) throw new UnreadableInput(`the file stopped arriving (${error.message}); try again`);
    throw error;
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

/**
 * Files that a page carries with itself, by name, in base64: "tadan.wasm", "tadan-worker.js", "<id>.safetensors", and
 * pictures. So a page works from `file://`, where nothing can be fetched.
 */
declare global {
  var TADAN_FILES: Record<string, string> | undefined;
}

export function brought(name: string): Uint8Array | undefined {
  const text = globalThis.TADAN_FILES?.[name];
  return text === undefined ? undefined : ascii(atob(text));
}

async function streamOf(source: Source, signal?: AbortSignal, init?: RequestInit): Promise<ReadableStream<Uint8Array>> {
  if (source instanceof ReadableStream) return source;
  if (source instanceof Blob) return source.stream();
  let response: Response;
  if (source instanceof Response) response = source;
  else if (typeof source === "string" || source instanceof URL || source instanceof Request) {
    try {
      response = await fetch(source, { ...init, ...(signal ? { signal } : {}) });
    } catch (error) {
      signal?.throwIfAborted();
      const where = source instanceof Request ? source.url : String(source);
      throw new UnreadableInput(`cannot fetch ${where} (${(error as Error).message}); check the address and CORS`, {
        cause: error,
      });
    }
  } else throw new InvalidInput("a source is bytes, a Blob, an address, a Response or a ReadableStream");
  if (!response.ok) throw new UnreadableInput(`${response.url} answers ${response.status}; check the address`);
  return response.body ?? new Blob([]).stream();
}
