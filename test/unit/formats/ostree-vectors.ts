import type { ByteString } from "#base/bytes.ts";
import type { Xattr } from "#formats/xattrs.ts";

/** Bytes of `ostree commit --no-bindings --timestamp=@1700000000 -s hi --add-metadata-string=version=1`, ostree 2026.4. */
export const published = {
  headers: {
    a: "00000012 00000000 00000000 00000000 000081a4 00000000 00 11",
    l: "00000013 00000000 00000000 00000000 0000a1ff 00000000 6100 12",
    x: `0000004a 00000000 00000000 00000000 000081ed 00000000 00
        73656375726974792e73656c696e757800 73797374656d5f753a6f626a6563745f723a62696e5f743a733000 11
        757365722e6b00 76 07 2d 36 11`,
  },
  checksums: {
    a: "44f778e59f0a4748d6b0c90a47347212a231c4ad1e8f7ea5c5dffc7749153a6b",
    l: "438802d990f25270d36f902bc9ce9d0737b88f9ae0b41ed59ec9e47c28523e0a",
    x: "b2f3322927a723de1c5644d8d2aa83cd7ed3be7bef8c928f8c5b32cfaf3667d7",
    dirmeta: "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488",
    subtree: "3f5de60ca72f51f295a6e3f424f1d24605c1c4b966c5dbec1f71bb075b6381f9",
    emptyTree: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    commit: "a6012887933eaadd0b9e2b2732d77079b1895c62bb304ef80825781d989cbae1",
  },
} as const;

export function hex(text: string): Buffer {
  return Buffer.from(text.replace(/\s/g, ""), "hex");
}

export function xattr(name: string, value: string | Buffer): Xattr {
  return { name: name as ByteString, value: Buffer.from(value) };
}

export const root = { uid: 0, gid: 0, xattrs: [] } as const;
