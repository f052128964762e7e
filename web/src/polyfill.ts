/**
 * One script tag makes pages show `.tdn` files: `<img src>`, `srcset`, `<picture>`, lazy loading.
 *
 *     <script src="tadan-polyfill.js" async data-weights="weights/{id}.safetensors"></script>
 *
 * Attributes of the tag: `data-weights`; `data-decoder`, "lite" for the small one; `data-mode`, "blob" (so by itself) or
 * "canvas"; `data-progressive`, to show previews; `data-workers`; `data-service-worker`, address of this script where it may be a service worker of the page
 * ("" where it is one beside the page); `data-manual`, to start it by script. The same file is the script of its workers.
 */
import { type Candidate, TYPE, type Written, candidateOf, isTdn } from "./candidates.js";
import { Decoder, type DecoderOptions, type Picture } from "./decoder.js";
import * as api from "./index.js";
import { serveRequests } from "./sw.js";
import { serveJobs } from "./worker.js";

export interface PolyfillOptions extends DecoderOptions {
  /** "blob": the `<img>` stays and shows an object URL; "canvas": a `<canvas>` takes its place. */
  mode?: "blob" | "canvas";
  /** Show previews while files arrive. */
  progressive?: boolean;
}

/** What is known of an image that is, or was, one of ours. */
interface State {
  written: Written;
  url: string;
  shown: string | null;
  stop: AbortController;
  canvas: HTMLCanvasElement | null;
}

const NEAR = "400px"; // how far before they are seen lazy pictures begin to load
const ATTRIBUTES = ["src", "srcset", "sizes", "media", "type", "loading"];

export class Polyfill {
  private readonly decoder: Decoder;
  private readonly states = new WeakMap<HTMLImageElement, State>();
  private readonly changes: MutationObserver;
  private readonly near: IntersectionObserver;
  private readonly later = new WeakMap<HTMLImageElement, () => void>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** @param decoder one that the page uses for other things, too */
  constructor(
    private readonly options: PolyfillOptions = {},
    decoder = new Decoder(options),
  ) {
    this.decoder = decoder;
    this.changes = new MutationObserver((records) => this.changed(records));
    this.near = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: NEAR });
  }

  /** Look after all images of the document, now and later. */
  start(): this {
    document.addEventListener("error", this.hush, true);
    addEventListener("resize", this.resized);
    this.changes.observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ATTRIBUTES });
    this.scan(document);
    return this;
  }

  /** Look after nothing any more; what is shown stays. */
  stop(): void {
    document.removeEventListener("error", this.hush, true);
    removeEventListener("resize", this.resized);
    this.changes.disconnect();
    this.near.disconnect();
    this.decoder.close();
  }

  /** The browser fails to show a file that we are about to show: pages need not hear of that. */
  private readonly hush = (event: Event): void => {
    const image = event.target;
    if (!(image instanceof HTMLImageElement) || !event.isTrusted) return;
    if (this.states.has(image) && isTdn(image.currentSrc || image.src)) event.stopImmediatePropagation();
  };

  private readonly resized = (): void => {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.scan(document), 250);
  };

  private scan(root: ParentNode): void {
    for (const image of root.querySelectorAll("img")) this.look(image);
  }

  private changed(records: MutationRecord[]): void {
    const images = new Set<HTMLImageElement>();
    const removed = new Set<HTMLImageElement>();
    for (const { type, target, addedNodes, removedNodes } of records) {
      if (type === "attributes" && target instanceof HTMLImageElement) images.add(target);
      const parent = target instanceof HTMLSourceElement ? target.parentElement : target;
      if (parent instanceof HTMLPictureElement) for (const image of parent.querySelectorAll("img")) images.add(image);
      for (const node of addedNodes) {
        if (node instanceof HTMLImageElement) images.add(node);
        else if (node instanceof Element) for (const image of node.querySelectorAll("img")) images.add(image);
      }
      for (const node of removedNodes) {
        if (node instanceof HTMLImageElement) removed.add(node);
        else if (node instanceof Element) for (const image of node.querySelectorAll("img")) removed.add(image);
      }
    }
    for (const image of images) this.look(image);
    for (const image of removed) {
      const state = this.states.get(image);
      if (state && !state.canvas && !image.isConnected) this.forget(image, state);
    }
  }

  /** Decide about an image again. */
  private look(image: HTMLImageElement): void {
    const state = this.states.get(image);
    let written = writtenIn(image);
    if (state?.shown && written.srcset?.startsWith(state.shown)) {
      if (written.src !== state.written.src) return this.replaced(image, state); // the page wants to show another one
      written = state.written; // the rest is ours
    }
    const candidate = candidateOf(image, written);
    if (!candidate) return state && this.forget(image, state);
    if (state?.url === candidate.url) return;
    if (isByServiceWorker() && candidate.url === new URL(written.src ?? "", document.baseURI).href) return;
    state?.stop.abort();
    const next: State = {
      written,
      url: candidate.url,
      shown: state?.shown ?? null,
      stop: new AbortController(),
      canvas: state?.canvas ?? null,
    };
    this.states.set(image, next);
    const go = () => void this.show(image, candidate, next);
    if (image.loading !== "lazy") return go();
    this.later.set(image, go);
    this.near.observe(image);
  }

  private seen(entries: IntersectionObserverEntry[]): void {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.near.unobserve(target);
      this.later.get(target as HTMLImageElement)?.();
    }
  }

  private async show(image: HTMLImageElement, candidate: Candidate, state: State): Promise<void> {
    const { signal } = state.stop;
    const credentials = image.crossOrigin === "use-credentials" ? "include" : "same-origin";
    const put = (picture: Picture) => this.put(image, picture, candidate, state);
    try {
      const onPreview = this.options.progressive ? { onPreview: put } : {};
      const request: RequestInit = { credentials, headers: { Accept: `${TYPE},*/*;q=0.5` } };
      put(await this.decoder.decode(candidate.url, { signal, request, ...onPreview }));
    } catch (error) {
      if (!signal.aborted) this.fall(image, state, error as Error);
    }
  }

  private put(image: HTMLImageElement, picture: Picture, { density }: Candidate, state: State): void {
    if (state.stop.signal.aborted) return;
    if (this.options.mode === "canvas") return void this.paint(image, picture, density, state);
    const before = state.shown;
    const shown = (state.shown = URL.createObjectURL(picture.toBlob()));
    // Widths and sizes state the density, which keeps the size in the layout, and leave `src` out of account.
    this.withoutSources(image);
    image.sizes = `${picture.width / density}px`;
    image.srcset = `${shown} ${picture.width}w`;
    if (before) image.addEventListener("load", () => URL.revokeObjectURL(before), { once: true });
  }

  /** Sources before the image would still be taken by the browser. */
  private withoutSources(image: HTMLImageElement): void {
    if (!(image.parentElement instanceof HTMLPictureElement)) return;
    for (const source of image.parentElement.querySelectorAll("source"))
      if (source.type !== TYPE && !source.dataset.tadanType) {
        source.dataset.tadanType = source.type || "any";
        source.type = TYPE; // which no browser takes
      }
  }

  private async paint(image: HTMLImageElement, picture: Picture, density: number, state: State): Promise<void> {
    const { width, height } = picture;
    const bitmap = await picture.toImageBitmap();
    if (state.stop.signal.aborted) return bitmap.close();
    const canvas = (state.canvas ??= document.createElement("canvas"));
    Object.assign(canvas, { width, height });
    canvas.getContext("2d")!.drawImage(bitmap, 0, 0);
    bitmap.close();
    if (canvas.isConnected) return;
    for (const { name, value } of image.attributes)
      if (/^(class|id|title|lang|dir|data-.*)$/.test(name)) canvas.setAttribute(name, value);
    canvas.style.cssText = image.style.cssText;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", image.alt);
    const size = (side: "width" | "height", own: number) => {
      const given = image.getAttribute(side);
      canvas.style[side] ||= given ? `${Number.parseFloat(given)}${given.endsWith("%") ? "%" : "px"}` : `${own / density}px`;
    };
    if (!image.hasAttribute("height")) canvas.style.aspectRatio = `${width} / ${height}`;
    size("width", width);
    if (image.hasAttribute("height")) size("height", height);
    image.replaceWith(canvas);
    image.dispatchEvent(new Event("load"));
  }

  /** The page changed `src` of an image that we show: what else it had written comes back, and is looked at again. */
  private replaced(image: HTMLImageElement, state: State): void {
    this.forget(image, state);
    this.look(image);
  }

  /** Leave an image to the page, as it was written but for `src`. */
  private forget(image: HTMLImageElement, state: State): void {
    state.stop.abort();
    this.states.delete(image);
    if (!state.shown) return;
    URL.revokeObjectURL(state.shown);
    for (const name of ["srcset", "sizes"] as const) {
      const value = state.written[name];
      if (value === null) image.removeAttribute(name);
      else image.setAttribute(name, value);
    }
    if (image.parentElement instanceof HTMLPictureElement)
      for (const source of image.parentElement.querySelectorAll<HTMLSourceElement>("source[data-tadan-type]")) {
        source.type = source.dataset.tadanType === "any" ? "" : source.dataset.tadanType!;
        delete source.dataset.tadanType;
      }
  }

  /** What a page that cannot show a file shows instead: `data-tadan-fallback`, or what the browser takes itself. */
  private fall(image: HTMLImageElement, state: State, error: Error): void {
    console.warn(`tadan: ${state.url}: ${error.name}: ${error.message}`);
    const { tadanFallback: fallback } = image.dataset;
    if (fallback) {
      this.forget(image, state);
      this.states.set(image, { ...state, shown: null }); // so that it is not tried again
      image.removeAttribute("srcset");
      image.src = fallback;
    } else if (isTdn(image.currentSrc || image.src)) image.dispatchEvent(new Event("error"));
  }
}

function writtenIn(image: HTMLImageElement): Written {
  return { src: image.getAttribute("src"), srcset: image.getAttribute("srcset"), sizes: image.getAttribute("sizes") };
}

function isByServiceWorker(): boolean {
  return /tadan-polyfill\.js/.test(globalThis.navigator?.serviceWorker?.controller?.scriptURL ?? "");
}

function automatic(): void {
  const script = document.currentScript as HTMLScriptElement | null;
  const { weights, decoder: shows, mode, progressive, workers, serviceWorker, manual } = script?.dataset ?? {};
  const base = script?.src || location.href;
  const options: PolyfillOptions = {
    base,
    worker: base,
    ...(weights ? { weights: new URL(weights, document.baseURI) } : {}),
    ...(shows === "lite" ? { decoder: shows } : {}),
    ...(mode === "canvas" ? { mode } : {}),
    ...(progressive !== undefined ? { progressive: true } : {}),
    ...(workers !== undefined ? { workers: Number(workers) } : {}),
  };
  const decoder = api.configure(options);
  const page = Object.assign({}, api, { Polyfill, options, decoder });
  (globalThis as { Tadan?: unknown }).Tadan = page;
  if (manual !== undefined) return;
  if (serviceWorker !== undefined && navigator.serviceWorker) {
    const address = new URL(serviceWorker || base, document.baseURI);
    if (options.weights) address.searchParams.set("weights", String(options.weights));
    if (options.decoder) address.searchParams.set("decoder", options.decoder);
    navigator.serviceWorker.register(address).catch((error: Error) => console.warn(`tadan: ${error.message}`));
  }
  if (typeof WebAssembly !== "object") return; // what the browser shows by itself stays
  new Polyfill(options, decoder).start();
}

if (globalThis.document) automatic();
else if ("clients" in globalThis) serveRequests();
else serveJobs();
