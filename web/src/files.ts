/** The decoder's own files: WebAssembly, worker and weights, beside its script or brought by the page. */
import { compile, hasSimd } from "./core.js";
import { ModelMissing, UnreadableInput } from "./errors.js";
import { type Source, brought, read } from "./source.js";

const CACHE = "tadan-weights-1";

/** Reads files of the machine; set in Node (node.ts). */
export const local: { read?: (url: URL) => Promise<Uint8Array> } = {};

/** A file beside the script. */
async function beside(base: URL | string, name: string): Promise<Uint8Array> {
  const own = brought(name);
  if (own) return own;
  const url = new URL(name, base);
  if (url.protocol === "file:" && local.read) return local.read(url);
  return read(url);
}

/** The core, with SIMD where there is some. @throws UnreadableInput, Unexpected */
export async function loadCore(base: URL | string, scalar = !hasSimd()): Promise<WebAssembly.Module> {
  return compile((await beside(base, scalar ? "tadan-scalar.wasm" : "tadan.wasm")) as Uint8Array<ArrayBuffer>);
}

/** Address of the worker's script; of a page from `file://` one that holds its text. */
export function workerUrl(base: URL | string, given: URL | string = "tadan-worker.js"): URL | string {
  const own = brought("tadan-worker.js");
  if (own) return URL.createObjectURL(new Blob([own as BlobPart], { type: "text/javascript" }));
  return new URL(given, base);
}

/**
 * Where weights come from: an address in which `{id}` stands for the content id, or what gives them for an id.
 * For a lite decoder it is `ID-lite`.
 */
export type WeightsSource = string | URL | ((id: string) => Source | Promise<Source>);

/**
 * The model file of a content id: from the browser's cache, else from the source, and then kept. What it holds is
 * compared with the id when it is read, so that a wrong or damaged entry cannot do harm; `forget` drops it.
 *
 * @throws ModelMissing, UnreadableInput
 */
export async function loadWeights(id: string, from: WeightsSource, base: URL | string): Promise<Uint8Array> {
  const own = brought(`${id}.safetensors`);
  if (own) return own;
  const kept = await cached(id);
  if (kept) return kept;
  let data: Uint8Array;
  try {
    data = await fetched(id, from, base);
  } catch (error) {
    if (!(error instanceof UnreadableInput)) throw error;
    throw new ModelMissing(`the weights of model ${id} cannot be had: ${error.message}`, { cause: error });
  }
  await keep(id, data);
  return data;
}

async function fetched(id: string, from: WeightsSource, base: URL | string): Promise<Uint8Array> {
  if (typeof from === "function") return read(await from(id));
  const url = new URL(String(from).replaceAll("{id}", id).replaceAll("%7Bid%7D", id), base);
  if (url.protocol === "file:") return beside(url, url.href);
  return read(url);
}

/** Keys are addresses that no server has: the entry of one id is the same for all of them. */
function key(id: string): string {
  return `https://tadan.invalid/weights/${id}`;
}

async function cached(id: string): Promise<Uint8Array | undefined> {
  try {
    const response = await (await globalThis.caches?.open(CACHE))?.match(key(id));
    return response && new Uint8Array(await response.arrayBuffer());
  } catch {
    return undefined; // private modes and file:// have no cache
  }
}

async function keep(id: string, data: Uint8Array): Promise<void> {
  try {
    await (await globalThis.caches?.open(CACHE))?.put(key(id), new Response(data as BodyInit));
  } catch {
    // no cache, or no room: the weights are fetched again next time
  }
}

/** Drop cached weights that turned out to be damaged. */
export async function forget(id: string): Promise<void> {
  try {
    await (await globalThis.caches?.open(CACHE))?.delete(key(id));
  } catch {
    // there is none
  }
}

