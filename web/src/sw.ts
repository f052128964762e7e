/**
 * A service worker that answers requests of images for `.tdn` files with PNGs: backgrounds of CSS and all else that
 * takes pictures then work, too. It decodes in its own thread, as service workers cannot start others.
 * `tadan-polyfill.js` is such a script where it is registered as one.
 */
import { Decoder } from "./decoder.js";

interface FetchEventLike extends Event {
  request: Request;
  respondWith(answer: Promise<Response>): void;
}
interface Scope {
  location: Location;
  clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(kind: string, handler: (event: FetchEventLike & { waitUntil(work: Promise<unknown>): void }) => void): void;
}

async function answer(decoder: Decoder, request: Request): Promise<Response> {
  const response = await fetch(request.url, { credentials: "same-origin", cache: request.cache });
  if (!response.ok) return response;
  const kept = response.clone();
  try {
    const picture = await decoder.decode(response);
    return new Response(picture.toBlob(), { headers: { "Content-Type": "image/png", "Cache-Control": "no-cache" } });
  } catch (error) {
    console.warn(`tadan: ${request.url}: ${(error as Error).message}`);
    return kept;
  }
}

/** Work as a service worker. */
export function serveRequests(): void {
  const scope = globalThis as unknown as Scope;
  const { href, origin, searchParams } = new URL(scope.location.href);
  const weights = searchParams.get("weights");
  const lite = searchParams.get("decoder") === "lite";
  const decoder = new Decoder({ base: href, workers: 0, ...(weights ? { weights } : {}), ...(lite ? { decoder: "lite" } : {}) });
  scope.addEventListener("install", (event) => event.waitUntil(scope.skipWaiting()));
  scope.addEventListener("activate", (event) => event.waitUntil(scope.clients.claim()));
  scope.addEventListener("fetch", (event) => {
    const { request } = event;
    const url = new URL(request.url);
    if (request.destination === "image" && url.origin === origin && url.pathname.toLowerCase().endsWith(".tdn"))
      event.respondWith(answer(decoder, request));
  });
}
