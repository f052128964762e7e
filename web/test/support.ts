/** Golden streams of the Python package, and decoders on the built files. */
import { readFileSync, readdirSync } from "node:fs";
import sharp from "sharp";
import type { DecoderOptions, ImageDecoder } from "../src/index.js";
import { nodeDecoder } from "../src/node.js";

const DATA = new URL("../../src/tadan/conformance/data/", import.meta.url);
export const DIST = new URL("../dist/", import.meta.url);

/** Model file, whole: `npm test` needs no other than the one of the package. */
const MODEL = new URL("../../src/tadan/models/data/photo.safetensors", import.meta.url);

export interface TileRecord {
  z: string;
  parameters: string[];
  y: string[];
  latents: string;
}

export interface GoldenStream {
  set: string;
  name: string;
  content: string;
  width: number;
  height: number;
  mode: string;
  quality: number;
  tile_size: number;
  metadata: Record<string, string>;
  levels: number | null;
  tiles: TileRecord[];
}

interface Manifest {
  streams: GoldenStream[];
  damaged: { name: string; shows: string; error: string }[];
}

function manifests(): [string, Manifest][] {
  const sets = readdirSync(DATA).filter((name) => name.startsWith("v"));
  return sets.map((set) => [set, JSON.parse(readFileSync(new URL(`${set}/manifest.json`, DATA), "utf8")) as Manifest]);
}

export const STREAMS = manifests().flatMap(([set, { streams }]) => streams.map((one) => ({ ...one, set })));
export const DAMAGED = manifests().flatMap(([set, { damaged }]) => damaged.map((one) => ({ ...one, set })));

export function golden(set: string, name: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(`${set}/${name}.tdn`, DATA)));
}

export async function pixels(file: Uint8Array | URL): Promise<{ data: Uint8Array; width: number; height: number }> {
  const input = file instanceof URL ? readFileSync(file) : file;
  const { data, info } = await sharp(input).toColourspace("srgb").ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  return { data: new Uint8Array(data), width: info.width, height: info.height };
}

export function goldenPixels(set: string, name: string): ReturnType<typeof pixels> {
  return pixels(new URL(`${set}/${name}.png`, DATA));
}

let model: Uint8Array | undefined;
export function modelFile(): Uint8Array {
  return (model ??= new Uint8Array(readFileSync(MODEL)));
}

export const decodeImage: ImageDecoder = async (file) => {
  const { data, width, height } = await pixels(file);
  return { data, width, height };
};

export function decoder(options: DecoderOptions = {}): ReturnType<typeof nodeDecoder> {
  return nodeDecoder({ base: DIST, weights: () => modelFile(), decodeImage, ...options });
}
