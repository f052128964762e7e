/** Who works: threads of the browser or of Node, started as there is work for them, or this very thread. */
import { type Told, UnreadableInput, heard, told } from "./errors.js";
import { type Facts, type LatentsJob, type ShowJob, Thread, type TileLatents } from "./thread.js";

/** What threads are told, and what they answer. */
export type Request =
  | { number: number; kind: "start"; module: WebAssembly.Module }
  | { number: number; kind: "load"; id: string; file: Uint8Array }
  | ({ number: number } & (LatentsJob | ShowJob));
export type Answer = { number: number; value: unknown } | { number: number; error: Told };
type Job = LatentsJob | ShowJob;

/** What browsers' workers and those of Node (in a wrapper) have in common. */
export interface WorkerLike {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  terminate(): unknown;
  onmessage: ((event: { data: Answer }) => void) | null;
  onerror: ((event: { message?: string }) => void) | null;
}

export interface Pool {
  /** Most jobs that run at a time. */
  readonly size: number;
  /** Make a model ready, in the first thread at once, in others when they are needed. */
  load(id: string, file: Uint8Array): Promise<Facts>;
  latents(job: LatentsJob, signal?: AbortSignal): Promise<TileLatents>;
  show(job: ShowJob, signal?: AbortSignal): Promise<Uint8ClampedArray>;
  close(): void;
}

/** The thread that calls does the work, job by job, and lets others go first in between. */
export class OwnThread implements Pool {
  readonly size = 1;
  private readonly thread: Thread;
  private last: Promise<unknown> = Promise.resolve();

  constructor(module: WebAssembly.Module) {
    this.thread = new Thread(module);
  }

  load(id: string, file: Uint8Array): Promise<Facts> {
    return this.thread.load(id, file);
  }

  latents(job: LatentsJob, signal?: AbortSignal): Promise<TileLatents> {
    return this.next(() => this.thread.latents(job), signal);
  }

  show(job: ShowJob, signal?: AbortSignal): Promise<Uint8ClampedArray> {
    return this.next(() => this.thread.show(job), signal);
  }

  close(): void {}

  private next<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const mine = this.last.then(async () => {
      await new Promise((go) => setTimeout(go, 0));
      signal?.throwIfAborted();
      return work();
    });
    this.last = mine.catch(() => {});
    return mine;
  }
}

interface Waiting {
  job: Job;
  signal: AbortSignal | undefined;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** Workers, each with its own memory; nothing is shared, so that no page need be isolated. */
export class Workers implements Pool {
  private readonly threads: Member[] = [];
  private readonly queue: Waiting[] = [];
  private readonly models = new Map<string, { file: Uint8Array; facts: Promise<Facts> }>();

  constructor(
    readonly size: number,
    private readonly module: WebAssembly.Module,
    private readonly start: () => WorkerLike,
  ) {}

  /** Start the first worker. @throws UnreadableInput workers cannot be started here */
  async ready(): Promise<void> {
    await this.member().ready;
  }

  load(id: string, file: Uint8Array): Promise<Facts> {
    const known = this.models.get(id);
    if (known) return known.facts;
    const first = this.threads[0] ?? this.member();
    const facts = first.load(id, file);
    this.models.set(id, { file, facts });
    facts.catch(() => this.models.delete(id));
    return facts;
  }

  latents(job: LatentsJob, signal?: AbortSignal): Promise<TileLatents> {
    return this.enqueue(job, signal) as Promise<TileLatents>;
  }

  show(job: ShowJob, signal?: AbortSignal): Promise<Uint8ClampedArray> {
    return this.enqueue(job, signal) as Promise<Uint8ClampedArray>;
  }

  close(): void {
    for (const thread of this.threads.splice(0)) thread.close(new UnreadableInput("the decoder was closed"));
    for (const one of this.queue.splice(0)) one.reject(new UnreadableInput("the decoder was closed"));
  }

  private member(): Member {
    const member: Member = new Member(this.start(), this.module, () => {
      const at = this.threads.indexOf(member);
      if (at >= 0) this.threads.splice(at, 1); // another one is started when there is work
    });
    this.threads.push(member);
    return member;
  }

  private enqueue(job: Job, signal?: AbortSignal): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.queue.push({ job, signal, resolve, reject });
      this.hand();
    });
  }

  /** Give what waits to who is free; jobs that show come first, as they free memory. */
  private hand(): void {
    while (this.queue.length) {
      let free = this.threads.find((thread) => !thread.busy);
      if (!free) {
        if (this.threads.length >= this.size) return;
        free = this.member();
      }
      const showing = this.queue.findIndex((one) => one.job.kind === "show");
      const [next] = this.queue.splice(Math.max(0, showing), 1);
      void this.run(free, next!);
    }
  }

  private async run(member: Member, { job, signal, resolve, reject }: Waiting): Promise<void> {
    member.busy = true;
    try {
      signal?.throwIfAborted();
      const model = this.models.get(job.model);
      if (model) await member.load(job.model, model.file);
      resolve(await member.do(job));
    } catch (error) {
      reject(error);
    } finally {
      member.busy = false;
      this.hand();
    }
  }
}

/** One worker. */
class Member {
  busy = false;
  readonly ready: Promise<unknown>;
  private count = 0;
  private readonly waiting = new Map<number, [(value: unknown) => void, (error: unknown) => void]>();
  private readonly loaded = new Map<string, Promise<Facts>>();

  constructor(
    private readonly worker: WorkerLike,
    module: WebAssembly.Module,
    gone: () => void,
  ) {
    worker.onmessage = ({ data }) => {
      const [resolve, reject] = this.waiting.get(data.number)!;
      this.waiting.delete(data.number);
      if ("error" in data) reject(heard(data.error));
      else resolve(data.value);
    };
    worker.onerror = (event) => {
      gone();
      this.close(new UnreadableInput(`a worker failed: ${event.message ?? "its script cannot be loaded"}`));
    };
    this.ready = this.ask({ kind: "start", module });
    this.ready.catch(() => {});
  }

  load(id: string, file: Uint8Array): Promise<Facts> {
    let loading = this.loaded.get(id);
    if (!loading) {
      loading = this.ask({ kind: "load", id, file }) as Promise<Facts>;
      this.loaded.set(id, loading);
      loading.catch(() => this.loaded.delete(id));
    }
    return loading;
  }

  do(job: Job): Promise<unknown> {
    return this.ask(job, job.kind === "show" ? [job.yHat.buffer as ArrayBuffer] : []);
  }

  close(error: Error): void {
    this.worker.terminate();
    for (const [, reject] of this.waiting.values()) reject(error);
    this.waiting.clear();
  }

  private ask(message: object, transfer: Transferable[] = []): Promise<unknown> {
    const number = this.count++;
    return new Promise((resolve, reject) => {
      this.waiting.set(number, [resolve, reject]);
      this.worker.postMessage({ number, ...message }, transfer);
    });
  }
}

/** What a worker does with a message; `post` answers. */
export function serve(post: (answer: Answer, transfer: Transferable[]) => void): (request: Request) => Promise<void> {
  let thread: Thread | undefined;
  return async (request) => {
    const { number } = request;
    try {
      let value: unknown;
      const transfer: Transferable[] = [];
      if (request.kind === "start") thread = new Thread(request.module);
      else if (request.kind === "load") value = await thread!.load(request.id, request.file);
      else if (request.kind === "latents") {
        const latents = await thread!.latents(request);
        transfer.push(latents.yHat.buffer as ArrayBuffer);
        value = latents;
      } else {
        const pixels = await thread!.show(request);
        transfer.push(pixels.buffer as ArrayBuffer);
        value = pixels;
      }
      post({ number, value }, transfer);
    } catch (error) {
      post({ number, error: told(error) }, []);
    }
  };
}
