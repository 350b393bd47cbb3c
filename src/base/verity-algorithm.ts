/** The hash of an fs-verity digest: fs-verity's own meaning of the name, which is not the plain hash of the content. */
export type VerityAlgorithm = "sha256" | "sha512";
