import { mkdirSync, readdirSync } from "node:fs";
import { OneholdError } from "#base/errors.ts";
import { type ImageReference, parseReference } from "#image/reference.ts";
import { bindMount, mount, mountTable } from "#linux/mounts.ts";
import { reexecInMountNamespace } from "#linux/namespace.ts";
import { inspectRemote } from "#sources/inspect-remote.ts";
import { pullImage } from "#sources/pull.ts";
import type { PullOrder, PullLine } from "./pull-session.ts";

// A process of its own for each pull, as the command line is: mounts, signals and what is left behind are real.
reexecInMountNamespace();

const order = JSON.parse(process.argv[2] ?? "") as PullOrder;
const say = (line: PullLine) => process.stdout.write(`${JSON.stringify(line)}\n`);
const interrupt = new AbortController();
process.on("SIGTERM", () => interrupt.abort());

for (const [source, target] of order.binds ?? []) {
  mkdirSync(target, { recursive: true });
  bindMount(source, target);
}
if (order.storeSizeMiB !== undefined)
  mount("tmpfs", order.storeFolder, { type: "tmpfs", data: `size=${order.storeSizeMiB}m` });

try {
  for (const text of [order.reference, ...(order.more ?? [])]) await carryOut(parseReference(text));
} catch (error) {
  if (!(error instanceof OneholdError)) throw error;
  say({ error: { code: error.code, message: error.message, hint: error.hint, subject: error.subject } });
}

async function carryOut(reference: ImageReference): Promise<void> {
  const common = { tlsVerify: order.tlsVerify, root: order.root, signal: interrupt.signal };
  if (order.inspect === true) {
    const remote = await inspectRemote(reference, common);
    say({ remote: remote === undefined ? null : { ...remote, bytes: remote.bytes.toString("base64") } });
    return;
  }
  const result = await pullImage({
    ...common,
    reference,
    storeRoot: `${order.storeFolder}/storage`,
    temporary: order.temporary,
    source: order.source ?? "auto",
    report: (event) => say({ at: performance.now(), event }),
  });
  say({ result });
}

// Other tests mount too, and their mounts come in.
const bound = new Set((order.binds ?? []).map(([, target]) => target));
const places = [order.storeFolder, "/run/bootc", "/run/libpod"];
const ours = mountTable().filter(({ mountPoint }) => places.some((place) => `${mountPoint}/`.startsWith(`${place}/`)));
say({
  end: {
    mounts: ours.map(({ mountPoint }) => mountPoint).filter((path) => !bound.has(path) && path !== order.storeFolder),
    temporary: readdirSync(order.temporary),
  },
});
