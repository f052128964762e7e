/** Every golden stream: latents equal step by step, pixels within a level, with and without SIMD; damage, the same errors. */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { crc32 } from "../src/bytes.js";
import { Container } from "../src/container.js";
import { Core } from "../src/core.js";
import { tileBox } from "../src/header.js";
import { checksum, decodeLatents } from "../src/latents.js";
import { readModel } from "../src/model.js";
import { Networks } from "../src/networks.js";
import { scheduleOf } from "../src/schedule.js";
import { DAMAGED, DIST, IDS, STREAMS, decoder, golden, goldenPixels, modelFile } from "./support.js";

const hex = (crc: number) => crc.toString(16).padStart(8, "0");
const bytes = (values: Int32Array | Uint8Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

const CORES = ["tadan.wasm", "tadan-scalar.wasm"];

describe.each(CORES.flatMap((file) => IDS.map((id) => [file, id])))("latents with %s, model %s", (file, id) => {
  let networks: Networks;
  beforeAll(async () => {
    const core = new Core(await WebAssembly.compile(readFileSync(new URL(file, DIST))));
    expect(core.kernel).toBe(file === "tadan.wasm" ? "simd128" : "scalar");
    networks = new Networks(core, await readModel(modelFile(id)));
  });

  it.each(STREAMS.filter((stream) => stream.set.endsWith(id)))("$name", ({ set, name, tiles }) => {
    const container = new Container(golden(set, name));
    const { header } = container;
    const { group_sizes: groups, radius } = networks.config;
    const schedule = scheduleOf(header.schedule!, groups.length, radius);
    tiles.forEach((record, number) => {
      const tile = container.tiles().get(number)!;
      const [, , width, height] = tileBox(header, number);
      const parameters: string[] = [];
      const y: string[] = [];
      const onStep = (mean: Int32Array, index: Uint8Array, yHat: Int32Array) => {
        parameters.push(hex(crc32(index, crc32(bytes(mean)))));
        y.push(hex(crc32(bytes(yHat))));
      };
      const [rows, cols] = [Math.ceil(height / 16), Math.ceil(width / 16)];
      const latents = decodeLatents(networks, tile.words, rows, cols, header.quality, schedule, { onStep });
      expect(hex(crc32(bytes(latents.zHat)))).toBe(record.z);
      expect(parameters).toEqual(record.parameters);
      expect(y).toEqual(record.y);
      expect(hex(checksum(latents))).toBe(record.latents);
      expect(hex(tile.contentCrc)).toBe(record.latents);
    });
  });
});

describe.each([false, true])("pictures, scalar %s", (scalar) => {
  const own = decoder({ scalar });

  it.each(STREAMS)("$name", async ({ set, name, levels, mode, metadata }) => {
    const picture = await own.decode(golden(set, name), { orientation: "keep" });
    for (const [key, crc] of Object.entries(metadata))
      expect(hex(crc32(picture.metadata[key as "icc"]!))).toBe(crc);
    expect(Object.keys(picture.metadata).length).toBe(Object.keys(metadata).length);
    if (levels === null) return; // only latents are defined there
    const wanted = await goldenPixels(set, name);
    expect([picture.width, picture.height, picture.header.mode]).toEqual([wanted.width, wanted.height, mode]);
    let most = 0;
    let alpha = 0;
    for (let i = 0; i < wanted.data.length; i++) {
      const difference = Math.abs(wanted.data[i]! - picture.data[i]!);
      if (i % 4 === 3) alpha = Math.max(alpha, difference);
      else most = Math.max(most, difference);
    }
    expect(alpha).toBe(0);
    expect(most).toBeLessThanOrEqual(levels);
  });

  it.each(DAMAGED)("$name: $shows", async ({ set, name, error }) => {
    await expect(own.decode(golden(set, name))).rejects.toMatchObject({ name: error });
  });
});
