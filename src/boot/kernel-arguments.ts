/**
 * The arguments of a kernel's command line, in its order, quotes kept. As in the kernel, blanks between double
 * quotes separate nothing.
 */
export function splitKernelArguments(line: string): string[] {
  return line.match(/(?:[^\s"]|"[^"]*(?:"|$))+/g) ?? [];
}

/** The value of the last argument with this key, quotes around it taken off. */
export function kernelArgument(args: readonly string[], key: string): string | undefined {
  const found = args.findLast((argument) => argument.startsWith(`${key}=`));
  return found?.slice(key.length + 1).replace(/^"(.*)"$/, "$1");
}
