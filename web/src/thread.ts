/** What one thread does: a model in the core's memory, which turns words to latents and latents to pixels. */
import { Core } from "./core.js";
import { Corrupt, ModelMissing } from "./errors.js";
import type { Box, ScheduleField } from "./header.js";
import { checksum, decodeLatents } from "./latents.js";
import { type Model, STRIDE, latentOf, reachOf, readModel } from "./model.js";
import { Networks } from "./networks.js";
import { scheduleOf } from "./schedule.js";
import { Synthesis } from "./synthesis.js";

/** What the thread that schedules needs to know of a model. */
export interface Facts {
  id: string;
  reach: number;
  latent: number;
}

export interface LatentsJob {
  kind: "latents";
  model: string;
  words: Uint8Array;
  contentCrc: number;
  quality: number;
  schedule: ScheduleField;
  /** Of y. */
  rows: number;
  cols: number;
  /** As of LatentOptions; undefined: all, checked. */
  stages: number | undefined;
}

export interface ShowJob {
  kind: "show";
  model: string;
  /** int32 [rows][cols][latent], with the margin that the part needs. */
  yHat: Int32Array;
  rows: number;
  cols: number;
  quality: number;
  /** Part to show, in positions. */
  inner: Box;
  grey: boolean;
}

export interface TileLatents {
  yHat: Int32Array;
  complete: number;
  stages: number;
}

interface Loaded {
  model: Model;
  networks: Networks;
  synthesis: Synthesis;
}

export function factsOf(model: Model): Facts {
  const { config, decodes } = model;
  return {
    id: decodes,
    reach: reachOf(config),
    latent: latentOf(config),
  };
}

export class Thread {
  private readonly models = new Map<string, Promise<Loaded>>();

  constructor(private readonly module: WebAssembly.Module) {}

  /** Take a model file in; once for each content id. @throws NotOurFile, UnsupportedVersion, Corrupt, ModelMissing */
  async load(id: string, file: Uint8Array): Promise<Facts> {
    if (!this.models.has(id)) {
      const loading = this.made(id, file);
      this.models.set(id, loading);
      loading.catch(() => this.models.delete(id));
    }
    return factsOf((await this.models.get(id)!).model);
  }

  private async made(id: string, file: Uint8Array): Promise<Loaded> {
    const model = await readModel(file);
    if (model.decodes !== id) throw new ModelMissing(`the weights are for model ${model.decodes}, the picture needs ${id}`);
    const core = new Core(this.module); // memory of its own: models come and stay
    return { model, synthesis: new Synthesis(core, model), networks: new Networks(core, model) };
  }

  private async loaded(id: string): Promise<Loaded> {
    const loaded = await this.models.get(id);
    if (!loaded) throw new ModelMissing(`model ${id} is not loaded`);
    return loaded;
  }

  /** @throws Corrupt the words do not decode to the latents that were encoded; UnsupportedVersion */
  async latents(job: LatentsJob): Promise<TileLatents> {
    const { networks, model } = await this.loaded(job.model);
    const { group_sizes: sizes, radius } = model.config;
    const schedule = scheduleOf(job.schedule, sizes.length, radius);
    const { words, rows, cols, quality, stages } = job;
    const latents = decodeLatents(networks, words, rows, cols, quality, schedule, { stages });
    if (stages === undefined && checksum(latents) !== job.contentCrc)
      throw new Corrupt("the decoded latents do not match their checksum: the file was damaged; get it again");
    const { yHat, complete, stages: all } = latents;
    return { yHat, complete, stages: all };
  }

  /** RGBA of the part, 16 times its sides. */
  async show(job: ShowJob): Promise<Uint8ClampedArray> {
    const { synthesis } = await this.loaded(job.model);
    const rgb = synthesis.run(job.yHat, job.rows, job.cols, job.quality, job.inner);
    const out = new Uint8ClampedArray(4 * STRIDE * STRIDE * job.inner[2] * job.inner[3]);
    const { grey } = job;
    for (let from = 0, to = 0; to < out.length; from += 3, to += 4) {
      let [r, g, b] = [rgb[from]!, rgb[from + 1]!, rgb[from + 2]!];
      if (grey) r = g = b = (19_595 * r + 38_470 * g + 7471 * b + 32_768) >> 16;
      out[to] = r;
      out[to + 1] = g;
      out[to + 2] = b;
      out[to + 3] = 255;
    }
    return out;
  }
}
