/** g_s: latents to pixels, in the core's layers of floats (docs/SPEC.md, section 11; tadan/codec/native.py). */
import { CHUNK, type Core, type Field, OUTPUTS, longs, words } from "./core.js";
import { UnsupportedVersion } from "./errors.js";
import type { Box } from "./header.js";
import { type Config, type Model, STRIDE, factors, latentOf } from "./model.js";
import { Weights } from "./onnx.js";

const CELL = 4; // pixels a side of what a grid point shows
const SIDE = STRIDE / CELL;
const SAMPLES = 3 * CELL * CELL;

interface Gains {
  /** Factor of each latent, of Q6. */
  latent: Float32Array;
  blocks: Float32Array;
}

export class Synthesis {
  private readonly config: Config;
  private readonly inlet: number;
  private readonly blocks: number[];
  private readonly renderer: number;
  private readonly force: number;
  private readonly gains = new Map<number, Gains>();

  /** @throws Corrupt, UnsupportedVersion */
  constructor(
    private readonly core: Core,
    private readonly model: Model,
  ) {
    const config = (this.config = model.config);
    const { body_width: width, grid, grid_hidden: hidden, kernel } = config;
    const wide = width * config.body_expansion;
    const latent = latentOf(config);
    if ([latent, width, grid, hidden].some((one) => one % OUTPUTS))
      throw new UnsupportedVersion(`the widths of the model's g_s are no multiples of ${OUTPUTS}; decode with tadan`);
    const weights = new Weights(["graph.g_s", "weights.g_s"].map((name) => model.tensors.get(name)!.data));
    const dense = (name: string, inputs: number, outputs: number) =>
      this.packed(weights.of(`${name}.weight`, outputs, inputs), weights.of(`${name}.bias`, outputs));
    this.inlet = core.struct(dense("inlet", latent, width));
    this.blocks = numbered("blocks", config.body_blocks).map((name) => {
      const spatial = transposed(weights.of(`${name}.spatial.weight`, width, kernel * kernel), width);
      const bias = weights.of(`${name}.spatial.bias`, width);
      const layers = [dense(`${name}.expand`, width, wide), dense(`${name}.project`, wide, width)];
      return core.struct([...words(core.putFloats(spatial), core.putFloats(bias)), ...layers, ...longs(kernel)]);
    });
    const toGrid = weights.of("to_grid.weight", SIDE * SIDE * grid, width);
    const toGridBias = weights.of("to_grid.bias", SIDE * SIDE * grid);
    const parts = Array.from({ length: SIDE * SIDE }, (_, part) =>
      this.packed(toGrid.subarray(part * grid * width, (part + 1) * grid * width), toGridBias.subarray(part * grid, (part + 1) * grid)),
    );
    const names = numbered("renderer", config.grid_blocks);
    const modulate = names.map((name) => {
      const bias = weights.of(`${name}.modulate.bias`, 2 * hidden);
      const shift = weights.of(`${name}.expand.bias`, hidden);
      for (let i = 0; i < hidden; i++) {
        bias[i]! += shift[i]!; // what expand would add
        bias[hidden + i]! += 1; // of the scale
      }
      return this.packed(weights.of(`${name}.modulate.weight`, 2 * hidden, width), bias);
    });
    const expand = names.map((name) => dense(`${name}.expand`, grid, hidden));
    const project = names.map((name) => dense(`${name}.project`, hidden, grid));
    const outlet = this.packed(
      weights.of("outlet.weight", SAMPLES, grid).map((value) => 255 * value),
      weights.of("outlet.bias", SAMPLES).map((value) => 255 * value + 127.5),
    );
    const arrays = [parts, modulate, expand, project].map((layers) => core.structs(layers));
    this.renderer = core.struct([...words(...arrays), outlet, ...words(names.length, SIDE, CELL)]);
    const floats = Math.max(width + wide, grid + hidden * (1 + 2 * config.grid_blocks) + SAMPLES);
    this.force = core.force(4 * CHUNK * floats);
  }

  /**
   * Show a part of a plane.
   *
   * @param yHat int32 [height][width][latent], Q6
   * @param inner the part, in positions; what else there is, is its margin
   * @returns the core's own memory: uint8 RGB of 16 times the part's sides, until it works again
   */
  run(yHat: Int32Array, height: number, width: number, quality: number, inner: Box): Uint8Array {
    const { core, config } = this;
    const { latent, blocks } = this.gainsOf(quality);
    const mark = core.mark();
    try {
      const y = core.alloc(4 * yHat.length);
      const floats = core.f32(y, yHat.length);
      for (let i = 0; i < yHat.length; i += latent.length)
        for (let c = 0; c < latent.length; c++) floats[i + c] = yHat[i + c]! * latent[c]!;
      const gains = core.putFloats(blocks);
      let plane = core.alloc(4 * height * width * config.body_width);
      core.run.tadan_inlet(this.force, this.inlet, y, BigInt(height * width), plane);
      let here: Box = [0, 0, width, height];
      this.blocks.forEach((block, number) => {
        // What the blocks behind this one see of it, and no more.
        const margin = (config.body_blocks - 1 - number) * Math.floor(config.kernel / 2);
        const near = widened(inner, margin, width, height);
        const area = core.struct(longs(here[3], here[2], near[1] - here[1], near[0] - here[0], near[2]));
        const n = near[2] * near[3];
        const out = core.alloc(4 * n * config.body_width);
        const own = gains + 4 * 2 * config.body_width * number;
        core.run.tadan_wide_block(this.force, block, own, plane, area, BigInt(n), out, 0);
        plane = out;
        here = near;
      });
      const [, , cols, rows] = inner;
      const bytes = 3 * STRIDE * STRIDE * rows * cols;
      const picture = core.alloc(bytes);
      const ofGrid = gains + 4 * 2 * config.body_width * config.body_blocks;
      core.run.tadan_render(this.force, this.renderer, ofGrid, plane, BigInt(cols), BigInt(rows * cols), picture);
      return core.u8(picture, bytes);
    } finally {
      core.release(mark);
    }
  }

  private gainsOf(quality: number): Gains {
    let gains = this.gains.get(quality);
    if (!gains) {
      const latent = factors(this.model, "quality.log_inverse_gain", quality).map((factor) => factor / 64);
      this.gains.set(quality, (gains = { latent, blocks: factors(this.model, "quality.log_g_s", quality) }));
    }
    return gains;
  }

  /** `tadan_dense` from weights [outputs][inputs]: blocks of 16 outputs, inputs slowest. */
  private packed(weight: Float32Array, bias: Float32Array): Field[] {
    const outputs = bias.length;
    const inputs = weight.length / outputs;
    const at = this.core.alloc(4 * weight.length);
    const to = this.core.f32(at, weight.length);
    for (let o = 0; o < outputs; o++) {
      const first = (o >> 4) * OUTPUTS * inputs + (o & 15);
      for (let i = 0; i < inputs; i++) to[first + i * OUTPUTS] = weight[o * inputs + i]!;
    }
    return [...words(at, this.core.putFloats(bias)), ...longs(inputs, outputs)];
  }
}

function numbered(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${name}.${i}`);
}

/** [rows][columns] -> [columns][rows]. */
function transposed(values: Float32Array, rows: number): Float32Array {
  const cols = values.length / rows;
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) for (let col = 0; col < cols; col++) out[col * rows + row] = values[row * cols + col]!;
  return out;
}

/** A box with a margin, as far as the plane goes. */
export function widened([x, y, w, h]: Box, margin: number, width: number, height: number): Box {
  const [left, top] = [Math.max(0, x - margin), Math.max(0, y - margin)];
  return [left, top, Math.min(width, x + w + margin) - left, Math.min(height, y + h + margin) - top];
}
