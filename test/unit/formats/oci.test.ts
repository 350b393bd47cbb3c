import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { compressionOf, isIndex, parseConfig, parseIndex, parseManifest } from "#formats/oci.ts";

const digest = (digit: string) => `sha256:${digit.repeat(64)}`;
const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const layerType = "application/vnd.oci.image.layer.v1.tar+gzip";

const manifest = {
  schemaVersion: 2,
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: digest("a"), size: 7 },
  layers: [
    { mediaType: layerType, digest: digest("b"), size: 8, annotations: { note: "n" } },
    { mediaType: layerType, digest: digest("c"), size: 9 },
  ],
  annotations: { "org.opencontainers.image.created": "2024-01-01T00:00:00Z" },
};
const index = {
  schemaVersion: 2,
  manifests: [
    {
      mediaType: manifest.mediaType,
      digest: digest("d"),
      size: 10,
      platform: { architecture: "arm64", os: "linux", variant: "v8" },
    },
    { mediaType: manifest.mediaType, digest: digest("e"), size: 11 },
  ],
};
const config = {
  architecture: "amd64",
  os: "linux",
  created: "2024-01-01T00:00:00Z",
  config: { Labels: { "containers.bootc": "1" }, Env: ["PATH=/bin"] },
  rootfs: { type: "layers", diff_ids: [digest("1"), digest("2")] },
  history: [
    { created: "2024-01-01T00:00:00Z", created_by: "COPY /" },
    { created_by: "ENV A=b", empty_layer: true },
  ],
};

describe("manifests", () => {
  test("of OCI", () => {
    const parsed = parseManifest(json(manifest));
    assert.equal(parsed.config.digest, digest("a"));
    assert.deepEqual(
      parsed.layers.map((layer) => [layer.digest, layer.size, layer.annotations]),
      [
        [digest("b"), 8, { note: "n" }],
        [digest("c"), 9, {}],
      ],
    );
    assert.deepEqual(parsed.annotations, manifest.annotations);
  });

  test("of OCI without a media type, and with nulls as Go writes them", () => {
    const { mediaType: _, ...rest } = manifest;
    const parsed = parseManifest(json({ ...rest, annotations: null }));
    assert.equal(parsed.mediaType, "application/vnd.oci.image.manifest.v1+json");
    assert.deepEqual(parsed.annotations, {});
  });

  test("of Docker", () => {
    const mediaType = "application/vnd.docker.distribution.manifest.v2+json";
    assert.equal(parseManifest(json({ ...manifest, mediaType })).mediaType, mediaType);
  });

  test("of Docker's schema 1 are told apart from damage", () => {
    assert.throws(() => parseManifest(json({ schemaVersion: 1, fsLayers: [] })), { code: "unsupported" });
  });

  test("an index is not taken for a manifest, nor the other way round", () => {
    assert.equal(isIndex(json(index)), true);
    assert.equal(isIndex(json(manifest)), false);
    assert.throws(() => parseManifest(json(index)), { code: "corrupt" });
    assert.throws(() => parseIndex(json(manifest)), { code: "corrupt" });
  });

  test("one that is a manifest and an index is refused as either", () => {
    const both = json({ ...manifest, mediaType: undefined, manifests: index.manifests });
    assert.throws(() => parseManifest(both), /ambiguous/);
    assert.throws(() => parseIndex(both), /ambiguous/);
  });

  const damaged = {
    "not JSON": Buffer.from("{"),
    "not UTF-8": Buffer.from('{"schemaVersion":2,"a":"\xff"}', "latin1"),
    "a list": json([]),
    "another schema": json({ ...manifest, schemaVersion: 3 }),
    "another media type": json({ ...manifest, mediaType: "text/plain" }),
    "no config": json({ ...manifest, config: undefined }),
    "a digest that is a path": json({
      ...manifest,
      layers: [{ mediaType: layerType, digest: "sha256:../../etc", size: 1 }],
    }),
    "a negative size": json({ ...manifest, layers: [{ mediaType: layerType, digest: digest("b"), size: -1 }] }),
    "a size that is no integer": json({
      ...manifest,
      layers: [{ mediaType: layerType, digest: digest("b"), size: 1e300 }],
    }),
    "5 MiB": Buffer.concat([json(manifest), Buffer.alloc(5 << 20, " ")]),
  };
  for (const [what, bytes] of Object.entries(damaged)) {
    test(what, () => assert.throws(() => parseManifest(bytes), { code: "corrupt" }));
  }

  test("the error says where", () => {
    assert.throws(
      () => parseManifest(json({ ...manifest, layers: [{ mediaType: "", digest: "x", size: 1 }] })),
      /layers\.0\.digest/,
    );
  });
});

test("an index", () => {
  const [first, second] = parseIndex(json(index)).manifests;
  assert.deepEqual(first?.platform, { architecture: "arm64", os: "linux", variant: "v8" });
  assert.equal(second?.platform, undefined);
  const mediaType = "application/vnd.docker.distribution.manifest.list.v2+json";
  assert.equal(isIndex(json({ ...index, mediaType })), true);
  assert.equal(parseIndex(json({ ...index, mediaType })).manifests.length, 2);
});

describe("configs", () => {
  test("complete", () => {
    const parsed = parseConfig(json(config));
    assert.deepEqual(parsed.labels, { "containers.bootc": "1" });
    assert.deepEqual(parsed.diffIds, [digest("1"), digest("2")]);
    assert.equal(parsed.created, "2024-01-01T00:00:00Z");
    assert.deepEqual(
      parsed.history.map(({ createdBy, emptyLayer }) => [createdBy, emptyLayer]),
      [
        ["COPY /", false],
        ["ENV A=b", true],
      ],
    );
  });

  test("with what is optional left out or null", () => {
    const { architecture, os, rootfs } = config;
    for (const rest of [{}, { config: null, history: null, created: null }, { config: { Labels: null } }]) {
      const parsed = parseConfig(json({ architecture, os, rootfs, ...rest }));
      assert.deepEqual([parsed.labels, parsed.history, parsed.created], [{}, [], undefined]);
    }
  });

  test("damaged", () => {
    assert.throws(
      () => parseConfig(json({ ...config, rootfs: { type: "layers", diff_ids: ["x"] } })),
      /rootfs\.diff_ids\.0/,
    );
    assert.throws(() => parseConfig(json({ ...config, rootfs: undefined })), { code: "corrupt" });
    assert.throws(() => parseConfig(json({ ...config, config: { Labels: { a: 1 } } })), { code: "corrupt" });
  });
});

test("compression of layers", () => {
  const known = {
    "application/vnd.oci.image.layer.v1.tar": "none",
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
    "application/vnd.oci.empty.v1+json": undefined,
  };
  for (const [type, compression] of Object.entries(known)) assert.equal(compressionOf(type), compression);
});
