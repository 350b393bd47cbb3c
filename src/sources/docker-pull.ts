import { type IncomingMessage, request } from "node:http";
import * as v from "valibot";
import { OneholdError } from "#base/errors.ts";

/** A line of the answer to POST /images/create, as Docker defines it. */
const lineSchema = v.looseObject({
  status: v.optional(v.string()),
  /** Of a blob: the first 12 hex digits of its digest. */
  id: v.optional(v.string()),
  progressDetail: v.optional(v.looseObject({ current: v.optional(v.number()), total: v.optional(v.number()) })),
  error: v.optional(v.string()),
});
const imageSchema = v.looseObject({ Id: v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/)) });
const refusalSchema = v.looseObject({ message: v.optional(v.string()), cause: v.optional(v.string()) });

export type PullLine = v.InferOutput<typeof lineSchema>;

/** The server has understood, tried and failed; in its words. */
export class PullRefused extends Error {
  override readonly name = "PullRefused";
}

export interface PullCall {
  readonly socketPath: string;
  /** With host, and tag or digest. */
  readonly name: string;
  readonly signal: AbortSignal;
  readonly onLine: (line: PullLine) => void;
}

/**
 * Asks a server of Docker's API to pull an image, and tells what it reports. podman offers it from 4.3 to 6, and
 * it is the one way of them all by which each tells the bytes of each blob, once a second. Throws PullRefused;
 * "corrupt" where the answer is not of the form; the error of node:http where the connection breaks.
 */
export async function pullThroughDockerApi({ socketPath, name, signal, onLine }: PullCall): Promise<void> {
  const response = await send(socketPath, "POST", `/images/create?fromImage=${encodeURIComponent(name)}`, signal);
  if (response.statusCode !== 200) throw new PullRefused(await refusal(response));
  let failure: string | undefined;
  for await (const line of lines(response, 1024 * 1024)) {
    const { error, ...rest } = parse(lineSchema, line);
    // The status was 200 already when it failed. podman says why in the last line.
    if (error === undefined) onLine(rest);
    else failure = error;
  }
  if (failure !== undefined) throw new PullRefused(failure);
}

/** The hex digits of the ID of an image that the server has. Throws PullRefused, "corrupt". */
export async function imageIdFromDockerApi(socketPath: string, name: string, signal: AbortSignal): Promise<string> {
  const response = await send(socketPath, "GET", `/images/${name}/json`, signal);
  if (response.statusCode !== 200) throw new PullRefused(await refusal(response));
  const body = await text(response, 16 * 1024 * 1024);
  return parse(imageSchema, body).Id.slice("sha256:".length);
}

/** Whether a server answers on the socket. */
export async function answers(socketPath: string, signal: AbortSignal): Promise<boolean> {
  try {
    const response = await send(socketPath, "GET", "/_ping", signal);
    response.resume();
    return response.statusCode === 200;
  } catch {
    return false;
  }
}

function send(socketPath: string, method: string, path: string, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request({ socketPath, method, path, signal, agent: false }, resolve).once("error", reject).end();
  });
}

async function refusal(response: IncomingMessage): Promise<string> {
  const body = await text(response, 64 * 1024);
  try {
    const { message, cause } = parse(refusalSchema, body);
    return message ?? cause ?? `HTTP status ${response.statusCode}`;
  } catch {
    return `HTTP status ${response.statusCode} ${body.slice(0, 200)}`;
  }
}

function parse<Schema extends v.GenericSchema>(schema: Schema, json: string): v.InferOutput<Schema> {
  try {
    return v.parse(schema, JSON.parse(json));
  } catch (cause) {
    throw new OneholdError("corrupt", `podman's answer is not of Docker's form: ${json.slice(0, 200)}`, { cause });
  }
}

async function text(stream: AsyncIterable<Buffer>, limit: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > limit) throw tooLong(limit);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** The lines of a stream that have something in them, none longer than `limit` bytes. */
async function* lines(stream: AsyncIterable<Buffer>, limit: number): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of stream) {
    const data = Buffer.concat([rest, chunk]);
    const end = data.lastIndexOf(0x0a) + 1;
    rest = data.subarray(end);
    if (rest.length > limit) throw tooLong(limit);
    yield* data
      .subarray(0, end)
      .toString("utf8")
      .split(/\r?\n/)
      .filter((line) => line !== "");
  }
  if (rest.length > 0) yield rest.toString("utf8");
}

function tooLong(limit: number): OneholdError {
  return new OneholdError("corrupt", `podman answered with more than ${limit} bytes at once`);
}
