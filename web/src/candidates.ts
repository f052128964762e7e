/** Which file an `<img>` stands for, if it is one of Tadan: `src`, `srcset` with `sizes`, `<picture>` (HTML, 4.8.4). */

export const TYPE = "image/x-tadan";

/** A chosen file, and how many of its pixels stand for one of CSS. */
export interface Candidate {
  url: string;
  density: number;
}

interface Entry {
  url: string;
  width?: number;
  density?: number;
}

/** Whether an address is that of a `.tdn` file. */
export function isTdn(url: string): boolean {
  try {
    return new URL(url, document.baseURI).pathname.toLowerCase().endsWith(".tdn");
  } catch {
    return false;
  }
}

export function parseSrcset(text: string): Entry[] {
  const entries: Entry[] = [];
  // An address has no spaces and does not begin or end with a comma; descriptors follow up to the next comma.
  for (const match of text.matchAll(/\s*,*\s*(\S*[^\s,])(?:\s+([^,]*))?\s*(?:,|$)/g)) {
    const entry: Entry = { url: match[1]! };
    for (const descriptor of (match[2] ?? "").split(/\s+/)) {
      const value = Number.parseFloat(descriptor);
      if (!(value > 0)) continue;
      if (descriptor.endsWith("w")) entry.width = value;
      else if (descriptor.endsWith("x")) entry.density = value;
    }
    entries.push(entry);
  }
  return entries;
}

/** Parts of a text between commas that are in no brackets. */
function byCommas(text: string): string[] {
  const parts = [""];
  let depth = 0;
  for (const character of text) {
    depth += Number(character === "(") - Number(character === ")");
    if (character === "," && !depth) parts.push("");
    else parts[parts.length - 1] += character;
  }
  return parts.map((part) => part.trim()).filter(Boolean);
}

/** Pixels of CSS that `sizes` says the picture will have across. */
export function sizeOf(image: HTMLImageElement, sizes: string): number {
  for (const part of byCommas(sizes)) {
    const [, condition, length] = /^(.*?)\s*((?:[\w-]*\([^()]*(?:\([^()]*\)[^()]*)*\))|\S+)$/.exec(part) ?? [];
    if (!length || (condition && !matchMedia(condition).matches)) continue;
    if (length.toLowerCase() === "auto") {
      if (image.clientWidth) return image.clientWidth;
      continue;
    }
    const probe = document.createElement("div");
    // Set by script and not by an attribute, which a strict policy forbids.
    Object.assign(probe.style, { position: "absolute", visibility: "hidden", width: length });
    document.body.append(probe);
    const width = probe.getBoundingClientRect().width;
    const known = probe.style.width !== "";
    probe.remove();
    if (known) return width;
  }
  return document.documentElement.clientWidth; // 100vw
}

/** The entry that suits the screen: the least dense one that is dense enough. */
function choose(image: HTMLImageElement, entries: Entry[], sizes: string): Candidate | null {
  const across = entries.some((entry) => entry.width) ? sizeOf(image, sizes) : 0;
  const dense = entries.map(({ url, width, density }) => ({
    url,
    density: width && across ? width / across : (density ?? 1),
  }));
  dense.sort((a, b) => a.density - b.density);
  const needed = globalThis.devicePixelRatio || 1;
  return dense.find((one) => one.density >= needed) ?? dense.at(-1) ?? null;
}

/** What `source` or `image` offers as Tadan; null: something else, or nothing. */
function offered(image: HTMLImageElement, srcset: string, sizes: string, src: string | null, all: boolean): Candidate | null {
  const entries = parseSrcset(srcset);
  if (src && !entries.some((entry) => entry.width || (entry.density ?? 1) === 1)) entries.push({ url: src });
  const ours = all ? entries : entries.filter((entry) => isTdn(entry.url));
  return ours.length ? choose(image, ours, sizes) : null;
}

/** The attributes of an image as the page wrote them, whatever the polyfill has put in their place. */
export interface Written {
  src: string | null;
  srcset: string | null;
  sizes: string | null;
}

/** The Tadan file that an image is to show; null if it has none, or if the browser's own choice comes before it. */
export function candidateOf(image: HTMLImageElement, written: Written): Candidate | null {
  const { parentElement: parent } = image;
  if (parent instanceof HTMLPictureElement)
    for (const source of parent.children) {
      if (source === image) break;
      if (!(source instanceof HTMLSourceElement)) continue;
      const { type, media, srcset, sizes } = source;
      if (!srcset || (media && !matchMedia(media).matches)) continue;
      const own = type === TYPE;
      const found = type && !own ? null : offered(image, srcset, sizes, null, own);
      if (found) return absolute(found);
      if (known(type)) return null; // the browser takes this one
    }
  const found = offered(image, written.srcset ?? "", written.sizes ?? "", written.src, false);
  return found && absolute(found);
}

function absolute({ url, density }: Candidate): Candidate {
  return { url: new URL(url, document.baseURI).href, density };
}

/** Whether browsers show a type; without one they try. */
function known(type: string): boolean {
  return !type || /^image\/(jpeg|png|webp|avif|gif|svg\+xml|bmp|x-icon|apng)\b/.test(type);
}
