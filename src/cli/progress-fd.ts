import { fstatSync, readdirSync, readFileSync, readlinkSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { messageOf, OneholdError } from "#base/errors.ts";
import type { LineSink } from "./progress-json.ts";

/** Unread bytes at which a reader counts as slow: what is not essential is dropped. */
const slowReader = 64 * 1024;
/** Unread bytes at which a reader counts as gone. */
const goneReader = 16 * 1024 * 1024;
/** How long the end of the program waits for a reader. */
const lastChanceMs = 2_000;

/**
 * The descriptor of `--progress-fd`, given by the caller: a pipe, FIFO, socket or file that can be written to.
 * A reader that stops reading, or goes, never stops the operation.
 *
 * @throws OneholdError `usage` where the descriptor is none of these.
 */
export function openProgressFd(fd: number): LineSink {
  const kind = kindOf(fd);
  if (kind === "file") return fileSink(fd);
  try {
    return streamSink(new Socket({ fd, readable: false, writable: true, allowHalfOpen: true }));
  } catch (error) {
    throw unusable(fd, messageOf(error));
  }
}

function kindOf(fd: number): "file" | "stream" {
  let stat: ReturnType<typeof fstatSync>;
  try {
    stat = fstatSync(fd);
  } catch {
    throw unusable(fd, "it is not open");
  }
  if (!(stat.isFile() || stat.isFIFO() || stat.isSocket())) throw unusable(fd, "it is no pipe, FIFO, socket or file");
  if (accessMode(fd) === "read") throw unusable(fd, "it is open for reading only");
  if (stat.isFIFO() && isReadHere(fd)) throw unusable(fd, "this process itself holds the pipe's other end");
  return stat.isFile() ? "file" : "stream";
}

function unusable(fd: number, why: string): OneholdError {
  return new OneholdError("usage", `can't write progress to descriptor ${fd}: ${why}`, {
    hint: `Open it for writing in the shell, for example ${fd}>progress.jsonl or ${fd}> >(reader).`,
  });
}

function accessMode(fd: number): "read" | "write" {
  const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "latin1"))?.[1] ?? "0";
  return (Number.parseInt(flags, 8) & 0o3) === 0 ? "read" : "write";
}

/** Node has pipes to itself, which must not get progress where the user gave a wrong number. */
function isReadHere(fd: number): boolean {
  const pipe = linkOf(String(fd));
  return readdirSync("/proc/self/fd").some(
    (other) => other !== String(fd) && linkOf(other) === pipe && accessMode(Number(other)) === "read",
  );
}

/** `pipe:[37879]`, or the path of a FIFO. Empty for a descriptor that is closed meanwhile. */
function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return "";
  }
}

function fileSink(fd: number): LineSink {
  let usable = true;
  const write = (line: string): boolean => {
    if (!usable) return true;
    const bytes = Buffer.from(line);
    try {
      for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
    } catch {
      usable = false;
    }
    return true;
  };
  return { write, close: async () => {} };
}

/** Node opens the descriptor as non-blocking and queues what the reader has not taken yet. */
function streamSink(socket: Socket): LineSink {
  socket.on("error", () => socket.destroy());
  const write = (line: string, essential: boolean): boolean => {
    if (socket.destroyed) return true;
    if (!essential && socket.writableLength > slowReader) return false;
    socket.write(line);
    if (socket.writableLength > goneReader) socket.destroy();
    return true;
  };
  const close = async (): Promise<void> => {
    if (socket.destroyed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const giveUp = setTimeout(resolve, lastChanceMs);
    socket.once("close", resolve).end(resolve);
    await promise;
    clearTimeout(giveUp);
    socket.destroy();
  };
  return { write, close };
}
