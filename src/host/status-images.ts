import type { Attempts } from "#boot/attempts.ts";
import type { Deployment } from "#boot/deployments.ts";
import type { OriginImage } from "#boot/origin.ts";
import { type CommittedImage, cachedUpdateOfCommit, imageOfCommit } from "#stores/ostree/committed-image.ts";
import type { Repository } from "#stores/ostree/repository.ts";
import type { ImageReferenceDocument, ImageStatusDocument } from "./status-document.ts";

export interface DeployedImage {
  readonly image: ImageStatusDocument;
  /** What the last look at the registry found, where that is another image. */
  readonly update: ImageStatusDocument | null;
}

/** The image that a deployment was made of; undefined for one that bootc does not understand, or that can't be read. */
export function deployedImage(
  repository: Repository,
  { origin, checksum, directory }: Deployment,
  attempts: Attempts,
): DeployedImage | undefined {
  const image = origin?.changedLocally === false ? origin.image : null;
  if (image === null) return undefined;
  const reference = referenceDocument(image);
  const deployed = attempts.try(() => imageOfCommit(repository, checksum), directory);
  if (deployed === undefined) return undefined;
  const cached = attempts.try(() => cachedUpdateOfCommit(repository, checksum), directory);
  const isNew = cached !== undefined && cached.manifestDigest !== deployed.manifestDigest;
  return { image: describe(reference, deployed), update: isNew ? describe(reference, cached) : null };
}

function referenceDocument({ name, transport, verification }: OriginImage): ImageReferenceDocument {
  const image = { image: name, transport };
  return verification === "unverified" ? image : { ...image, signature: verification };
}

function describe(image: ImageReferenceDocument, { manifestDigest, config }: CommittedImage): ImageStatusDocument {
  const { labels, created, architecture } = config;
  return {
    image,
    version: labels["org.opencontainers.image.version"] ?? labels["version"] ?? null,
    timestamp: timestampOf(labels["org.opencontainers.image.created"]) ?? timestampOf(created) ?? null,
    imageDigest: manifestDigest,
    architecture,
  };
}

/** RFC 3339 in UTC; undefined where the image says something else. */
function timestampOf(text: string | undefined): string | undefined {
  if (text === undefined || !rfc3339.test(text)) return undefined;
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return undefined;
  return time.toISOString().replace(".000Z", "Z");
}

const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/i;
