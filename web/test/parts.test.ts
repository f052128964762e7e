/** Parts that golden streams do not reach: hashes, PNGs of all kinds, orientation, two threads, limits, other sources. */
import { createHash, randomBytes } from "node:crypto";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { oriented } from "../src/orientation.js";
import { readPng, writePng } from "../src/png.js";
import { plainSha256 } from "../src/sha256.js";
import { STREAMS, decoder, golden } from "./support.js";

describe("hashes", () => {
  it.each([0, 1, 55, 56, 63, 64, 65, 119, 120, 1000])("of %d bytes are those of SHA-256", (length) => {
    const data = new Uint8Array(randomBytes(length + 3)).subarray(3); // at an odd address
    expect(Buffer.from(plainSha256(data)).toString("hex")).toBe(createHash("sha256").update(data).digest("hex"));
  });
});

describe("PNG", () => {
  it.each([
    [37, 29, false],
    [1, 1, true],
    [8, 5, true],
    [37, 29, true],
  ])("of %d x %d, interlaced %s, is read exactly", async (width, height, progressive) => {
    const samples = new Uint8Array(randomBytes(width * height));
    const raw = { width, height, channels: 1 as const };
    const file = await sharp(samples, { raw }).toColourspace("b-w").png({ progressive }).toBuffer();
    expect(await readPng(new Uint8Array(file), width, height, 1, true, "it")).toEqual(samples);
    await expect(readPng(new Uint8Array(file).subarray(0, -30), width, height, 1, true, "it")).rejects.toMatchObject({ name: "Corrupt" });
    await expect(readPng(new Uint8Array(file), width + 1, height, 1, true, "it")).rejects.toMatchObject({ name: "Corrupt" });
  });

  it.each([true, false])("that is written holds the samples, alpha %s", async (alpha) => {
    const [width, height] = [211, 97]; // more than one block of 65,535 bytes
    const data = new Uint8ClampedArray(randomBytes(4 * width * height));
    if (!alpha) data.forEach((_, i) => i % 4 === 3 && (data[i] = 255));
    const file = Buffer.from(await writePng(data, width, height, alpha, new Uint8Array(randomBytes(99))).arrayBuffer());
    const back = await sharp(file, { ignoreIcc: true } as object).ensureAlpha().raw().toBuffer();
    expect(new Uint8ClampedArray(back)).toEqual(data);
  });
});

describe("orientation", () => {
  // EXIF tag -> what sharp does to get there.
  it.each([2, 3, 4, 5, 6, 7, 8])("%d is that of other programs", async (orientation) => {
    const [width, height] = [3, 2];
    const data = new Uint8ClampedArray(24).map((_, i) => (i % 4 === 3 ? 255 : 9 * i));
    const raw = { width, height, channels: 4 as const };
    const file = await sharp(Buffer.from(data), { raw }).png().withMetadata({ orientation }).toBuffer();
    const { data: wanted, info } = await sharp(file).rotate().raw().toBuffer({ resolveWithObject: true });
    const turned = oriented(data, width, height, orientation);
    expect([turned.width, turned.height]).toEqual([info.width, info.height]);
    expect(Buffer.from(turned.data)).toEqual(wanted);
  });
});

describe("decoder", () => {
  const tiles = STREAMS.find((stream) => stream.name === "tiles")!;

  it("gives with two threads what it gives with none", async () => {
    const file = golden(tiles.set, tiles.name);
    const [own, two] = [decoder(), decoder({ workers: 2 })];
    const [a, b] = await Promise.all([own.decode(file), two.decode(file)]);
    two.close();
    expect(b.data).toEqual(a.data);
  });

  it("takes blobs, responses and streams", async () => {
    const file = golden(tiles.set, tiles.name);
    const own = decoder();
    const wanted = (await own.decode(file)).data;
    const sources = [new Blob([file as BlobPart]), new Response(file as BodyInit), new Blob([file as BlobPart]).stream()];
    for (const source of sources) expect((await own.decode(source)).data).toEqual(wanted);
    expect(await own.inspect(new Blob([file as BlobPart]))).toMatchObject({ width: tiles.width, height: tiles.height });
  });

  it("shows regions as the whole", async () => {
    const file = golden(tiles.set, tiles.name);
    const whole = await decoder().decode(file);
    const part = await decoder().decode(file, { region: [50, 30, 60, 1000] });
    expect([part.width, part.height]).toEqual([60, tiles.height - 30]);
    for (let row = 0; row < part.height; row++) {
      const from = 4 * ((row + 30) * whole.width + 50);
      const [line, wanted] = [part.data.subarray(240 * row, 240 * (row + 1)), whole.data.subarray(from, from + 240)];
      line.forEach((value, i) => expect(Math.abs(value - wanted[i]!)).toBeLessThanOrEqual(1));
    }
    await expect(decoder().decode(file, { region: [9000, 0, 5, 5] })).rejects.toMatchObject({ name: "InvalidInput" });
  });

  it("refuses what is above its limits, models of other ids, and ends when told", async () => {
    const file = golden(tiles.set, tiles.name);
    const small = decoder({ limits: { maxPixels: 100 } });
    await expect(small.decode(file)).rejects.toMatchObject({ name: "LimitExceeded", limit: "maxPixels", bound: 100 });
    const none = decoder({ weights: "file:///nowhere/{id}.safetensors" });
    await expect(none.decode(file)).rejects.toMatchObject({ name: "ModelMissing" });
    const wrong = decoder({ weights: () => new Uint8Array(100) });
    await expect(wrong.decode(file)).rejects.toMatchObject({ name: "NotOurFile" });
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(decoder().decode(file, { signal })).rejects.toThrow("enough");
  });
});
