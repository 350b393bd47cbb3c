/** Onehold's own version: that of package.json, which a test compares, so that `--version` reads no file. */
export const version = "0.1.0";
