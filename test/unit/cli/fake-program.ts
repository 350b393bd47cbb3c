/**
 * The command line with verbs that do as their image's name says instead of storing images. Started as a
 * program by the tests, since exit status, signals and descriptors are what they look at.
 */
import { OneholdError } from "#base/errors.ts";
import type { VerbContext } from "#cli/context.ts";
import { runProgram } from "#cli/program.ts";
import type { LoadVerb } from "#cli/verbs.ts";
import { layer, pulling, staging } from "./events.ts";

const behaviours: Record<string, (context: VerbContext) => Promise<number> | number> = {
  fails: () => {
    throw new OneholdError("not-found", "no such image", { hint: "Look at 'onehold image list'." });
  },
  "is-misused": () => {
    throw new OneholdError("usage", "that is no image");
  },
  "has-a-bug": () => {
    throw new TypeError("x is undefined");
  },
  warns: ({ warn }) => {
    warn("little space");
    return 0;
  },
  waits: async ({ signal, report }) => {
    report(pulling([layer("aa", 1, 10)]));
    const { promise, reject } = Promise.withResolvers<never>();
    signal.addEventListener("abort", () => reject(signal.reason));
    const alive = setInterval(() => {}, 1000);
    process.stderr.write("ready\n");
    return promise.finally(() => clearInterval(alive));
  },
  "waits-in-node": async ({ signal }) => {
    const { setTimeout } = await import("node:timers/promises");
    process.stderr.write("ready\n");
    await setTimeout(60_000, undefined, { signal });
    return 0;
  },
  "does-not-listen": () => {
    const alive = setInterval(() => {}, 1000);
    process.stderr.write("ready\n");
    return new Promise<number>(() => {}).finally(() => clearInterval(alive));
  },
  progresses: ({ report }) => {
    for (let bytes = 0; bytes <= 100; bytes++) report(pulling([layer("aa", bytes, 100)]));
    for (let steps = 0; steps <= 3; steps++) report(staging(steps));
    return 0;
  },
  "progresses-much": async ({ report }) => {
    const others = Array.from({ length: 100 }, (_, index) => layer(`bb${index}`, 0, 1000));
    for (let bytes = 0; bytes <= 200; bytes++) {
      report(
        pulling([
          layer("aa", bytes, 100_000),
          ...others.map((part, index) => ({ ...part, bytes: index < bytes ? 1000 : 0 })),
        ]),
      );
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return 0;
  },
  "prints-much": ({ print }) => {
    print("", () => "a line of text\n".repeat(20_000));
    return 0;
  },
};

/** A verb that does what the last word of its image's name says, else prints its options. */
function fake<Options extends object>(name: string): LoadVerb<Options> {
  const run = async (options: Options, context: VerbContext): Promise<number> => {
    const word = "reference" in options && typeof options.reference === "string" ? options.reference : "";
    const behaviour = behaviours[word];
    if (behaviour !== undefined) return behaviour(context);
    context.print(
      { verb: name, options, sysroot: context.sysroot, workers: context.workers.href },
      () => `did ${name}`,
    );
    return 0;
  };
  return async () => ({ run });
}

process.exitCode = await runProgram(process.argv.slice(2), {
  init: fake("init"),
  status: fake("status"),
  installToFilesystem: fake("install to-filesystem"),
  upgrade: fake("upgrade"),
  switch: fake("switch"),
  rollback: fake("rollback"),
  imagePull: fake("image pull"),
  imageList: fake("image list"),
  imagePin: fake("image pin"),
  imageUnpin: fake("image unpin"),
  imageRemove: fake("image remove"),
  usage: fake("usage"),
  gc: fake("gc"),
  internalsMount: fake("internals mount"),
  internalsUmount: fake("internals umount"),
  composefsDump: fake("internals composefs dump"),
  composefsInfo: fake("internals composefs info"),
  composefsFsck: fake("internals composefs fsck"),
  composefsMkfs: fake("internals composefs mkfs"),
  computeDigest: fake("container compute-composefs-digest"),
});
