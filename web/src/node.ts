/** The decoder in Node, whose workers are those of `node:worker_threads`. */
import { readFile } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import { Decoder, type DecoderOptions } from "./decoder.js";
import { UnreadableInput } from "./errors.js";
import { local } from "./files.js";
import type { Answer, WorkerLike } from "./pool.js";

export * from "./index.js";

local.read = async (url) => {
  try {
    return new Uint8Array(await readFile(url));
  } catch (error) {
    throw new UnreadableInput(`cannot read ${url} (${(error as Error).message}); check its name`, { cause: error });
  }
};

/** A worker with the face of a browser's. */
export function startNodeWorker(url: URL | string): WorkerLike {
  const worker = new Worker(new URL(url));
  worker.unref(); // a program may end without closing its decoder
  const like: WorkerLike = {
    onmessage: null,
    onerror: null,
    postMessage: (message, transfer) => worker.postMessage(message, transfer as []),
    terminate: () => worker.terminate(),
  };
  worker.on("message", (data: Answer) => like.onmessage?.({ data }));
  worker.on("error", (error) => like.onerror?.(error as Error));
  return like;
}

/** A decoder for Node: with workers if `workers` says so, by itself in the calling thread. */
export function nodeDecoder(options: DecoderOptions = {}): Decoder {
  return new Decoder({ workers: 0, startWorker: startNodeWorker, ...options });
}
