/** The decoder that pages and programs use. */
import { Canvas, type Progress, isWhole, overlap, showLatents, tilesFor } from "./assemble.js";
import { Container, type Metadata, type Tile } from "./container.js";
import { InvalidInput, Truncated, typedError } from "./errors.js";
import { type WeightsSource, forget, loadCore, loadWeights, workerUrl } from "./files.js";
import { type Box, HEADER_PREFIX_BYTES, type Header, type Limits, hasAlpha, readHeader, tileBox } from "./header.js";
import { orientationOf, oriented } from "./orientation.js";
import { readPng, writePng } from "./png.js";
import { OwnThread, type Pool, type WorkerLike, Workers } from "./pool.js";
import { type Source, read } from "./source.js";
import { type ImageDecoder, browserDecoder, storedPixels } from "./stored.js";
import type { Facts } from "./thread.js";

export interface DecoderOptions {
  /** Address of the decoder's other files (`tadan.wasm`, `tadan-worker.js`); by itself that of its script. */
  base?: URL | string;
  /** Where weights come from; by itself `{id}.safetensors` beside the script. */
  weights?: WeightsSource;
  /** What shows pixels: "full" (so by itself), or "lite", smaller and faster; `{id}` then stands for `ID-lite`. */
  decoder?: "full" | "lite";
  /** Most workers; 0: the calling thread does the work. By itself as many as the processor has cores, at most 4. */
  workers?: number;
  /** Address of the worker's script; by itself `tadan-worker.js` beside the script. */
  worker?: URL | string;
  /** Starts a worker, where that is not `new Worker(url)`. */
  startWorker?: (url: URL | string) => WorkerLike;
  /** Use the build without SIMD. */
  scalar?: boolean;
  limits?: Partial<Limits>;
  decodeImage?: ImageDecoder;
}

export interface DecodeOptions {
  /** Part of the picture as stored: x, y, width, height in pixels; cut off at its borders. */
  region?: Box;
  /** Decode so many stages and predict the rest: 0 is what the side information alone says. */
  stages?: number;
  /** "apply" (so by itself): turn the picture as EXIF says; "keep": as stored. */
  orientation?: "apply" | "keep";
  /** Called with what there is of the picture while it arrives, as often as there is time for it. */
  onPreview?: (preview: Picture, progress: Progress) => void;
  signal?: AbortSignal;
  /** For sources that are fetched: headers, credentials and so on. */
  request?: RequestInit;
}

/** A decoded picture, or a part of it. */
export class Picture {
  /** Tag of EXIF, 1 to 8, whether it was applied or not. */
  readonly orientation: number;

  constructor(
    readonly header: Header,
    readonly metadata: Metadata,
    /** RGBA, 8 bits, not premultiplied; to be interpreted by `metadata.icc`, or as sRGB. */
    readonly data: Uint8ClampedArray<ArrayBuffer>,
    readonly width: number,
    readonly height: number,
  ) {
    this.orientation = orientationOf(metadata.exif);
  }

  /** In Node, which has no ImageData, an object with the same fields. */
  toImageData(): ImageData {
    const { data, width, height } = this;
    if (typeof ImageData === "function") return new ImageData(data, width, height);
    return { data, width, height, colorSpace: "srgb" } as ImageData;
  }

  /** A PNG that browsers show at once, its ICC profile within. */
  toBlob(): Blob {
    return writePng(this.data, this.width, this.height, hasAlpha(this.header), this.metadata.icc);
  }

  /** What can be drawn; an ICC profile is applied by the browser. */
  toImageBitmap(): Promise<ImageBitmap> {
    return this.metadata.icc ? createImageBitmap(this.toBlob()) : createImageBitmap(this.toImageData());
  }
}

/** What the first bytes of a file say. */
export interface Info extends Header {
  /** Bytes that were read for it. */
  bytesRead: number;
}

const FIRST_BYTES = 16; // fewer do not tell what else a file is

export class Decoder {
  private readonly base: URL | string;
  private pool: Promise<Pool> | undefined;
  private readonly models = new Map<string, Promise<Facts>>();

  constructor(private readonly options: DecoderOptions = {}) {
    const base = options.base ?? defaultBase();
    this.base = globalThis.document ? new URL(base, document.baseURI) : base;
  }

  /** Header of a file, of which no more is fetched; needs no weights. @throws as readHeader; UnreadableInput */
  async inspect(source: Source, signal?: AbortSignal): Promise<Info> {
    let found: Info | undefined;
    const look = (bytes: Uint8Array): boolean => {
      const header = this.headerIn(bytes);
      if (header) found = { ...header, bytesRead: bytes.length };
      return header !== undefined;
    };
    const bytes = await read(source, signal, look);
    found ??= { ...readHeader(bytes, this.options.limits).header, bytesRead: bytes.length };
    return found;
  }

  /**
   * Decode a file.
   *
   * @throws NotOurFile, Truncated, Corrupt, UnsupportedVersion, ModelMissing, LimitExceeded: as their names say;
   *   UnreadableInput: it cannot be fetched; InvalidInput: an option; OutOfMemory; the reason of `signal`
   */
  async decode(source: Source, options: DecodeOptions = {}): Promise<Picture> {
    const { signal, stages } = options;
    if (stages !== undefined && !(Number.isInteger(stages) && stages >= 0))
      throw new InvalidInput(`stages is a whole number of at least 0, not ${stages}`);
    try {
      const previews = options.onPreview && new Previews((bytes) => this.preview(bytes, options));
      let known = false;
      const arrived = (bytes: Uint8Array): void => {
        known ||= this.headerIn(bytes) !== undefined; // or the file is refused before more of it arrives
        previews?.take(bytes);
      };
      const data = await read(source, signal, arrived, options.request);
      await previews?.end();
      return await this.picture(data, options);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw typedError(error);
    }
  }

  /** The header, as soon as enough has arrived. @throws as readHeader */
  private headerIn(bytes: Uint8Array): Header | undefined {
    if (bytes.length < FIRST_BYTES) return undefined;
    try {
      return readHeader(bytes, this.options.limits).header;
    } catch (error) {
      if (error instanceof Truncated && bytes.length < HEADER_PREFIX_BYTES) return undefined;
      throw error;
    }
  }

  /** Fetch the decoder's files and weights for a model ahead of time. */
  async prepare(modelId: string): Promise<void> {
    await this.facts(modelId);
  }

  /** End the workers. */
  close(): void {
    this.pool?.then((pool) => pool.close()).catch(() => {});
    this.pool = undefined;
    this.models.clear();
  }

  private async picture(data: Uint8Array, options: DecodeOptions): Promise<Picture> {
    const container = new Container(data, this.options.limits);
    const { header } = container;
    const facts = header.modelId === null ? null : await this.facts(header.modelId);
    const canvas = new Canvas(regionOf(header, options.region));
    const metadata = container.metadata();
    const wanted = tilesFor(header, facts?.reach ?? 0, canvas.region);
    const tiles = container.tiles(options.region && wanted);
    await this.show(header, facts, tiles, canvas, options.stages, options.signal);
    return finished(header, metadata, canvas, options);
  }

  /** Show what has arrived of a file. */
  private async preview(data: Uint8Array, options: DecodeOptions): Promise<void> {
    const container = new Container(data, this.options.limits);
    const { header } = container;
    if (header.modelId === null) return; // what is stored comes as a whole
    const tiles = container.arrived();
    if (!tiles.size || isWhole(header, tiles)) return;
    const facts = await this.facts(header.modelId);
    const canvas = new Canvas(regionOf(header, options.region));
    const near = tilesFor(header, facts.reach, canvas.region);
    for (const number of tiles.keys()) if (!near.has(number)) tiles.delete(number);
    const progress = await this.show(header, facts, tiles, canvas, options.stages ?? Infinity, options.signal);
    if (progress.complete >= 0) options.onPreview!(finished(header, container.metadata(), canvas, options), progress);
  }

  private async show(
    header: Header,
    facts: Facts | null,
    tiles: Map<number, Tile>,
    canvas: Canvas,
    stages: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Progress> {
    const planes = new Map<number, Uint8Array>();
    for (const [number, { alpha }] of tiles) {
      const [, , width, height] = tileBox(header, number);
      if (alpha) planes.set(number, await readPng(alpha, width, height, 1, true, "the alpha plane"));
    }
    let progress: Progress = { complete: 0, stages: 0, tiles: tiles.size };
    if (facts) progress = await showLatents(await this.workers(), header, facts, tiles, canvas, stages, signal);
    else
      for (const [number, tile] of tiles) {
        const box = tileBox(header, number);
        canvas.put(box, await storedPixels(header, tile, box, this.options.decodeImage ?? browserDecoder));
      }
    for (const [number, alpha] of planes) canvas.putAlpha(tileBox(header, number), alpha);
    return progress;
  }

  private facts(id: string): Promise<Facts> {
    let facts = this.models.get(id);
    if (!facts) {
      facts = this.loaded(id);
      this.models.set(id, facts);
      facts.catch(() => this.models.delete(id));
    }
    return facts;
  }

  private async loaded(id: string): Promise<Facts> {
    const from = this.options.weights ?? "{id}.safetensors";
    const name = this.options.decoder === "lite" ? `${id}-lite` : id;
    const [pool, file] = await Promise.all([this.workers(), loadWeights(name, from, this.base)]);
    try {
      return await pool.load(id, file);
    } catch (error) {
      await forget(name);
      throw error;
    }
  }

  private workers(): Promise<Pool> {
    if (!this.pool) {
      this.pool = this.started();
      this.pool.catch(() => (this.pool = undefined));
    }
    return this.pool;
  }

  private async started(): Promise<Pool> {
    const { options } = this;
    const module = await loadCore(this.base, options.scalar);
    const wanted = options.workers ?? Math.min(4, globalThis.navigator?.hardwareConcurrency ?? 1);
    const start = options.startWorker ?? (typeof Worker === "function" ? (url) => new Worker(url) as WorkerLike : undefined);
    if (!wanted || !start) return new OwnThread(module);
    const url = workerUrl(this.base, options.worker);
    const workers = new Workers(wanted, module, () => start(url));
    try {
      await workers.ready();
      return workers;
    } catch {
      workers.close();
      return new OwnThread(module); // a policy without workers, or a page from file://
    }
  }
}

/** Runs one preview at a time, of the newest bytes. */
class Previews {
  private running: Promise<void> | undefined;
  private seen = 0;
  private ended = false;

  constructor(private readonly show: (bytes: Uint8Array) => Promise<void>) {}

  take(bytes: Uint8Array): void {
    // A preview is worth its work if a good part is new.
    if (this.running || this.ended || bytes.length < 1.25 * this.seen + 256) return;
    this.seen = bytes.length;
    this.running = this.show(bytes)
      .catch((error: unknown) => {
        if (!(error instanceof Truncated)) this.ended = true; // the decode itself will say so
      })
      .finally(() => (this.running = undefined));
  }

  async end(): Promise<void> {
    this.ended = true;
    await this.running;
  }
}

function regionOf(header: Header, region: Box | undefined): Box {
  const whole: Box = [0, 0, header.width, header.height];
  if (!region) return whole;
  const fits = region.length === 4 && region.every(Number.isInteger) && Math.min(region[0], region[1]) >= 0;
  const common = fits && Math.min(region[2], region[3]) > 0 ? overlap(region, whole) : null;
  if (!common)
    throw new InvalidInput(`the region ${region} (x,y,width,height) has no pixel of a picture of ${header.width}x${header.height}`);
  return common;
}

function finished(header: Header, metadata: Metadata, canvas: Canvas, options: DecodeOptions): Picture {
  const [, , width, height] = canvas.region;
  const orientation = options.orientation === "keep" ? 1 : orientationOf(metadata.exif);
  const turned = oriented(canvas.data, width, height, orientation);
  return new Picture(header, metadata, turned.data as Uint8ClampedArray<ArrayBuffer>, turned.width, turned.height);
}

/** Address of the script that this is part of. */
function defaultBase(): string {
  const script = globalThis.document?.currentScript as HTMLScriptElement | null | undefined;
  if (script?.src) return script.src;
  return import.meta.url ?? globalThis.location?.href;
}

