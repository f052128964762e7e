/** Tadan in browsers and in Node: `.tdn` files to pixels, exactly as the Python package decodes them. */
import { type DecodeOptions, Decoder, type DecoderOptions, type Info } from "./decoder.js";
import type { Source } from "./source.js";

export { Decoder, Picture } from "./decoder.js";
export type { DecodeOptions, DecoderOptions, Info } from "./decoder.js";
export type { Progress } from "./assemble.js";
export type { Metadata } from "./container.js";
export type { Box, Content, Header, Limits, Mode, Pattern, ScheduleField } from "./header.js";
export type { Source } from "./source.js";
export type { ImageDecoder, Samples } from "./stored.js";
export type { WeightsSource } from "./files.js";
export type { WorkerLike } from "./pool.js";
export {
  Corrupt,
  InvalidInput,
  LimitExceeded,
  ModelMissing,
  NotOurFile,
  OutOfMemory,
  TadanError,
  Truncated,
  Unexpected,
  UnreadableInput,
  UnsupportedVersion,
} from "./errors.js";
export { readHeader } from "./header.js";
export { isTadan } from "./sniff.js";
export { readModel } from "./model.js";

let shared: Decoder | undefined;

/** The decoder that `decode` and `inspect` use; `configure` replaces it. */
export function configure(options: DecoderOptions): Decoder {
  shared?.close();
  return (shared = new Decoder(options));
}

/** Header of a file, without weights and without the rest of the file. */
export function inspect(source: Source, signal?: AbortSignal): Promise<Info> {
  return (shared ??= new Decoder()).inspect(source, signal);
}

/** Decode a file to what can be drawn: an ImageBitmap, or ImageData where `as` says so or there are no bitmaps. */
export async function decode(source: Source, options: DecodeOptions & { as: "data" }): Promise<ImageData>;
export async function decode(source: Source, options?: DecodeOptions & { as?: "bitmap" }): Promise<ImageBitmap>;
export async function decode(
  source: Source,
  options: DecodeOptions & { as?: "bitmap" | "data" } = {},
): Promise<ImageBitmap | ImageData> {
  const picture = await (shared ??= new Decoder()).decode(source, options);
  const bitmaps = typeof createImageBitmap === "function";
  return options.as !== "data" && bitmaps ? picture.toImageBitmap() : picture.toImageData();
}
