/** What a worker does, in browsers and in Node. */
import { type Request, serve } from "./pool.js";

interface Scope {
  postMessage(message: unknown, transfer: Transferable[]): void;
  onmessage: ((event: { data: Request }) => void) | null;
}

/** Work as a worker. */
export function serveJobs(): void {
  const scope = globalThis as unknown as Scope;
  if (typeof scope.postMessage === "function") {
    const handle = serve((answer, transfer) => scope.postMessage(answer, transfer));
    scope.onmessage = ({ data }) => void handle(data);
    return;
  }
  const name = "node:worker_threads"; // a variable, so that bundlers for browsers leave it alone
  void import(name).then(({ parentPort }: typeof import("node:worker_threads")) => {
    const handle = serve((answer, transfer) => parentPort!.postMessage(answer, transfer as []));
    parentPort!.on("message", (request: Request) => void handle(request));
  });
}
