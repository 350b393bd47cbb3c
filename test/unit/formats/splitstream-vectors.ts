import { createHash } from "node:crypto";

/** The streams of composefs-rs's test test_config_verity_deterministic (crates/composefs-oci), of a sha256 repository. */

/** In the order of the config. */
export const layers = [
  {
    name: "alpha",
    size: 1000,
    diffId: "sha256:757d6903198804b6ed96421a93a9973f5facc0e445a2a6c61cb0129eb67026e2",
    stream: "61c07629b8a41273f190744a8545c132e6b784dcb2235bb31ade307a83e092ff",
  },
  {
    name: "beta",
    size: 2000,
    diffId: "sha256:77dd145166ef191089dabd4d2c52d32143850a3c81a074fedf48dca360e2dcb9",
    stream: "ce472620ab69da46e385b0936865ef22f940e6bf55a083d3be37b1003795e221",
  },
  {
    name: "gamma",
    size: 3000,
    diffId: "sha256:9b57f0e91c403b650e9391fd5e4154cac5dc1469acc0f3312e6149aa34f160ef",
    stream: "99ce11df4bb808a1e80ce69425dae527b64aa7a270bf99c4a6e24d66be270f3f",
  },
] as const;

export const config = Buffer.from(
  JSON.stringify({
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
  }),
);
export const configObject = "1dc5a7ea2c7a2d322c8ab613e8427bfe3fec9e6775b3c85896421a588d7c0e17";
export const configStreamObject = "4839518dea22749f8ff233e7f7baec65f23dd5336462f46ad6884769af84bf95";

export const configStream = Buffer.from(
  `
    53706c697453747265616d000000010c200000000000000070000000000000007000000000000000d000000000000000
    d000000000000000f00000000000000084010000000000009501000000000000f0000000000000008401000000000000
    6f6369636f6e66672b0100000000000061c07629b8a41273f190744a8545c132e6b784dcb2235bb31ade307a83e092ff
    ce472620ab69da46e385b0936865ef22f940e6bf55a083d3be37b1003795e22199ce11df4bb808a1e80ce69425dae527
    b64aa7a270bf99c4a6e24d66be270f3f1dc5a7ea2c7a2d322c8ab613e8427bfe3fec9e6775b3c85896421a588d7c0e17
    28b52ffd00585d0400d2cc1f149025c903c7c00a21cc8cf097ed2e89a4ff7f011b41b3dcbb2813ebc773a216d5c4abeb
    9aa696bdd8b68f842c7683a4f4c8d2c1064e804377588e5257542f7705c90ba51413541fda319dad1db928e4f8e6bb5b
    7d373c18be917083712e437f7a3969552caad9d6141093303f75b87ca344083c09de060b81b349808080040200019058
    9a229c0128b52ffd00584100000000000000000000
  `.replaceAll(/\s/g, ""),
  "hex",
);

export const alphaStream = Buffer.from(
  `
    53706c697453747265616d000000010c2000000000000000700000000000000070000000000000007000000000000000
    700000000000000090000000000000009900000000000000ed0000000000000090000000000000009900000000000000
    6f63696c61796572000a000000000000f6fa43bbc0a7908e2ef77438244159e9dec289dfc4c49d229237f9797a6a9b79
    28b52ffd200001000028b52ffd00585d0200440200feff616c7068610030303030373030303137353637353100307573
    746172003030e8fb0e00144105c080186e2898200624e7a80000831b3463660d45c0cd6280df95d62c98d28221
  `.replaceAll(/\s/g, ""),
  "hex",
);

/** A layer's tar: one file of zeros, as that test writes it. */
export function tarOf({ name, size }: { name: string; size: number }): {
  header: Buffer;
  rest: Buffer;
  content: Buffer;
} {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000700\0", 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  header.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0", 136);
  header.write("        ", 148);
  header.write("0", 156);
  header.write("ustar\x0000", 257, "latin1");
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(7, "0")}\0`, 148);
  return { header, content: Buffer.alloc(size), rest: Buffer.alloc(((512 - (size % 512)) % 512) + 1024) };
}

/** As bootc up to 1.15 wrote it: the same file with the fields of its header in another order. */
export function withOldHeader(stream: Buffer): Buffer {
  const old = Buffer.from(stream);
  stream.copy(old, 0, 16, 32);
  stream.copy(old, 16, 12, 14);
  stream.copy(old, 18, 0, 12);
  stream.copy(old, 30, 14, 16);
  return old;
}

export function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A stream with other sections. */
export function rebuilt(stream: Buffer, change: { names?: Buffer; body?: Buffer; size?: bigint }): Buffer {
  const section = (offset: number) =>
    stream.subarray(Number(stream.readBigUInt64LE(32 + offset)), Number(stream.readBigUInt64LE(40 + offset)));
  const sections: [number, Buffer][] = [
    [0, section(0)],
    [16, section(16)],
    [48, change.names ?? section(48)],
    [32, change.body ?? section(32)],
  ];
  const head = Buffer.from(stream.subarray(0, 112));
  let position = head.length;
  for (const [field, bytes] of sections) {
    head.writeBigUInt64LE(BigInt(position), 32 + field);
    position += bytes.length;
    head.writeBigUInt64LE(BigInt(position), 40 + field);
  }
  if (change.size !== undefined) head.writeBigUInt64LE(change.size, 32 + 72);
  return Buffer.concat([head, ...sections.map(([, bytes]) => bytes)]);
}
