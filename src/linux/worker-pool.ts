import { parentPort, type Transferable, Worker, workerData } from "node:worker_threads";
import { OneholdError } from "#base/errors.ts";
import { packError, type PackedError, unpackError } from "./worker-error.ts";

/**
 * A fixed number of threads for work that blocks: reading and hashing files, system calls. Requests are
 * taken in the order of `run`, each by the next thread that is free, and replies come in any order.
 *
 * Requests and replies are copied by the structured clone: a Buffer arrives as a plain Uint8Array.
 */
export class WorkerPool<Request, Reply> implements AsyncDisposable {
  readonly #entry: URL;
  readonly #size: number;
  readonly #data: unknown;
  readonly #members = new Set<Member<Request, Reply>>();
  readonly #queue: Job<Request, Reply>[] = [];
  #closed = false;

  /** `entry` is a module that calls `serve`. Threads start when there is work for them; each gets `data` (see `dataOfWorker`). */
  constructor(entry: URL, size: number, data?: unknown) {
    this.#entry = entry;
    this.#size = size;
    this.#data = data;
  }

  /**
   * Rejects with what the handler threw, of the same class (OneholdError, SystemError, else Error) and with
   * the same fields. A thread that dies rejects its request; the requests that wait go to a new one.
   */
  run(request: Request, transfer: readonly Transferable[] = []): Promise<Reply> {
    if (this.#closed) return Promise.reject(new Error("the worker pool is closed"));
    const job: Job<Request, Reply> = { request, transfer, ...Promise.withResolvers<Reply>() };
    this.#queue.push(job);
    this.#assign();
    return job.promise;
  }

  /** Threads that could take a request at once, those not yet started among them. */
  get idle(): number {
    return this.#size - [...this.#members].filter((member) => member.job !== undefined).length;
  }

  /** Requests that wait for a thread. */
  get queued(): number {
    return this.#queue.length;
  }

  /** Ends the threads where they are. What was not answered is rejected with "interrupted". */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const stopped = () => new OneholdError("interrupted", "the work was stopped before it was done");
    const members = [...this.#members];
    for (const job of this.#queue.splice(0)) job.reject(stopped());
    for (const member of members) this.#lose(member, stopped());
    await Promise.all(members.map((member) => member.worker.terminate()));
  }

  #assign(): void {
    while (this.#queue.length > 0) {
      const member = this.#freeMember();
      if (member === undefined) return;
      const job = this.#queue.shift();
      if (job !== undefined) this.#send(member, job);
    }
  }

  #freeMember(): Member<Request, Reply> | undefined {
    for (const member of this.#members) if (member.job === undefined) return member;
    return this.#members.size < this.#size ? this.#recruit() : undefined;
  }

  #send(member: Member<Request, Reply>, job: Job<Request, Reply>): void {
    try {
      member.worker.postMessage(job.request, job.transfer);
      member.job = job;
    } catch (error) {
      // A request that can't be cloned: its sender's mistake, the thread is as free as before.
      job.reject(error);
    }
  }

  #recruit(): Member<Request, Reply> {
    const worker = new Worker(this.#entry, {
      workerData: this.#data,
      // Descriptors are closed by their owners; two threads may well share one.
      trackUnmanagedFds: false,
      // A request leaves little behind, and each thread's share of memory counts.
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    });
    const member: Member<Request, Reply> = { worker, job: undefined };
    worker.on("message", (answer: Answer<Reply>) => {
      const job = member.job;
      member.job = undefined;
      if (answer.outcome === "done") job?.resolve(answer.reply);
      else job?.reject(unpackError(answer.error));
      this.#assign();
    });
    worker.on("messageerror", (error) => this.#lose(member, error));
    worker.on("error", (error) => this.#lose(member, error));
    worker.on("exit", (status) =>
      this.#lose(member, new Error(`a worker thread ended unasked, with status ${status}`)),
    );
    this.#members.add(member);
    return member;
  }

  /** Once for each member, whichever of its events comes first. */
  #lose(member: Member<Request, Reply>, reason: unknown): void {
    if (!this.#members.delete(member)) return;
    member.job?.reject(reason);
    member.job = undefined;
    this.#assign();
  }
}

/**
 * Makes a module the entry point of a pool's threads: `handle` answers one request after the other, and
 * blocks as it likes. What it throws is what `run` rejects with.
 */
export function serve<Request, Reply>(handle: (request: Request) => Reply | Promise<Reply>): void {
  const port = parentPort;
  if (port === null) throw new Error("serve is for worker threads");
  const answer = async (request: Request) => {
    try {
      port.postMessage({ outcome: "done", reply: await handle(request) } satisfies Answer<Reply>);
    } catch (error) {
      // Of the handler, or of a reply that can't be cloned.
      port.postMessage({ outcome: "failed", error: packError(error) } satisfies Answer<Reply>);
    }
  };
  port.on("message", (request: Request) => void answer(request));
}

/** In a worker: what the pool was made with. Unchecked, as it comes from our own code. */
export function dataOfWorker(): unknown {
  return workerData;
}

interface Member<Request, Reply> {
  readonly worker: Worker;
  job: Job<Request, Reply> | undefined;
}

interface Job<Request, Reply> extends PromiseWithResolvers<Reply> {
  readonly request: Request;
  readonly transfer: readonly Transferable[];
}

type Answer<Reply> = { outcome: "done"; reply: Reply } | { outcome: "failed"; error: PackedError };
