import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { Crc64, crc64 } from "#formats/crc64.ts";

/** What Go's hash/crc64 gives; the last is the check value of CRC-64/GO-ISO in the catalogue of CRCs. */
const published = {
  "": "0000000000000000",
  a: "3420000000000000",
  ab: "36c4200000000000",
  abc: "3776c42000000000",
  abcd: "336776c420000000",
  abcdefg: "31b002d36776c420",
  abcdefgh: "0e21b002d36776c4",
  abcdefghi: "8b6e21b002d36776",
  "Discard medicine more than two years old.": "8ec0e7c835bf9cdf",
  "123456789": "b90956c775a41001",
};

for (const [text, sum] of Object.entries(published)) {
  test(JSON.stringify(text), () => assert.equal(crc64(Buffer.from(text)).toString("hex"), sum));
}

/** As the definition has it, one bit at a time. */
function slowly(bytes: Uint8Array): string {
  let register = (1n << 64n) - 1n;
  for (const byte of bytes) {
    register ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) {
      register = (register & 1n) === 0n ? register >> 1n : (register >> 1n) ^ 0xd800000000000000n;
    }
  }
  return BigInt.asUintN(64, ~register).toString(16).padStart(16, "0");
}

test("any bytes, at any alignment, in any pieces", () => {
  const cases = fc.tuple(fc.uint8Array({ maxLength: 200 }), fc.nat({ max: 7 }), fc.nat());
  fc.assert(
    fc.property(cases, ([bytes, shift, cut]) => {
      const shifted = Buffer.concat([Buffer.alloc(shift), bytes]).subarray(shift);
      const middle = cut % (bytes.length + 1);
      const state = new Crc64().update(shifted.subarray(0, middle));
      assert.equal(state.digest().toString("hex"), slowly(bytes.subarray(0, middle)));
      assert.equal(state.update(shifted.subarray(middle)).digest().toString("hex"), slowly(bytes));
    }),
  );
});
