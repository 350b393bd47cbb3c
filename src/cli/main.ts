/**
 * The entry point. Older versions of Node.js must be able to read this file, to say that they are too old:
 * everything else is imported after the check.
 */
import module from "node:module";
import { fileURLToPath } from "node:url";
import { tooOldNode } from "./node-version.ts";

const complaint = tooOldNode(process.versions.node);
if (complaint === undefined) {
  // Beside the bundle, where it is made by the build. Run from source there is none.
  if (import.meta.url.endsWith(".mjs")) {
    module.enableCompileCache({
      directory: fileURLToPath(new URL("./.compile-cache", import.meta.url)),
      portable: true,
    });
  }
  const { runProgram } = await import("./program.ts");
  process.exitCode = await runProgram(process.argv.slice(2));
} else {
  process.stderr.write(complaint);
  process.exitCode = 1;
}
