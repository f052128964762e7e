/** Golden streams of the Python package, and decoders on the built files. */
import { readFileSync, readdirSync } from "node:fs";
import sharp from "sharp";
import { ModelMissing } from "../src/errors.js";
import type { DecoderOptions, ImageDecoder } from "../src/index.js";
import { nodeDecoder } from "../src/node.js";

const DATA = new URL("../../src/tadan/conformance/data/", import.meta.url);
export const DIST = new URL("../dist/", import.meta.url);

const MODELS = new URL("../../src/tadan/models/data/", import.meta.url);

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
  model: string | null;
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

/** Ids of the models that golden streams are of. */
export const IDS = [...new Set(manifests().flatMap(([, { model }]) => model ?? []))];

const models = new Map<string, Uint8Array>();

/** Whole model file of the package, by its id. */
export function modelFile(id: string): Uint8Array {
  for (const name of models.size ? [] : readdirSync(MODELS).filter((name) => name.endsWith(".safetensors"))) {
    const file = new Uint8Array(readFileSync(new URL(name, MODELS)));
    const length = Number(new DataView(file.buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as { __metadata__: { id: string } };
    models.set(header.__metadata__.id, file);
  }
  const found = models.get(id);
  if (!found) throw new ModelMissing(`the package holds no model ${id}`);
  return found;
}

export const decodeImage: ImageDecoder = async (file) => {
  const { data, width, height } = await pixels(file);
  return { data, width, height };
};

export function decoder(options: DecoderOptions = {}): ReturnType<typeof nodeDecoder> {
  return nodeDecoder({ base: DIST, weights: modelFile, decodeImage, ...options });
}
