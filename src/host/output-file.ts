import fs from "node:fs";
import path from "node:path";
import { OneholdError } from "#base/errors.ts";
import { openFile } from "#linux/descriptor.ts";
import { writeFileDurably } from "#linux/durable.ts";
import { withSystemErrors } from "#linux/system-error.ts";

/** Refuses ("usage", "not-found"), before any work is done, a path at which no file can be made. */
export function demandOutputFile(file: string): void {
  if (fs.statSync(file, { throwIfNoEntry: false })?.isDirectory()) {
    throw new OneholdError("usage", `${file} is a directory, where a file is to be written`, {
      subject: file,
      hint: "Name a file in it.",
    });
  }
  const folder = path.dirname(file);
  if (fs.statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return;
  throw new OneholdError("not-found", `${file} can't be written: ${folder} is not a directory`, {
    subject: file,
    hint: "Make the directory first.",
  });
}

/**
 * Writes a file whose place the user chose: whole, or not at all. A symlink stays one; into a pipe or device, such as
 * /dev/stdout, the bytes are written.
 */
export function writeOutputFile(file: string, bytes: Buffer): void {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  if (stat === undefined) writeFileDurably(file, bytes);
  else if (stat.isFile()) writeFileDurably(fs.realpathSync(file), bytes);
  else {
    using opened = openFile(file, fs.constants.O_WRONLY);
    withSystemErrors(() => {
      for (let done = 0; done < bytes.length; ) done += fs.writeSync(opened.fd, bytes, done);
    });
  }
}
