import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import type { BootState } from "#boot/deployments.ts";
import type { HostDocument } from "#host/status-document.ts";

const schema = JSON.parse(
  readFileSync(new URL("../../fixtures/schemas/bootc-host-v1.schema.json", import.meta.url), "utf8"),
) as object;
const ajv = new Ajv2020({
  allErrors: true,
  formats: {
    uint32: { type: "number", validate: (value) => Number.isInteger(value) && value >= 0 && value < 2 ** 32 },
    "date-time": /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/,
  },
});
const isValid = ajv.compile(schema);

/** By bootc's schema. */
export function assertValid(host: HostDocument): void {
  assert.ok(isValid(JSON.parse(JSON.stringify(host))), ajv.errorsText(isValid.errors));
}

/** A deployment, as far as every release of `ostree admin status` tells. */
export interface Seen {
  readonly stateroot: string;
  readonly checksum: string;
  readonly serial: number;
  readonly booted: boolean;
  readonly staged: boolean;
  readonly locked: boolean;
  readonly pinned: boolean;
}

export function seenBy({ deployments, problems }: BootState): Seen[] {
  assert.deepEqual(problems, []);
  return deployments.map(({ stateroot, checksum, serial, booted, staged, locked, origin }) => {
    return { stateroot, checksum, serial, booted, staged, locked, pinned: origin?.pinned ?? false };
  });
}

/** `ostree admin status --json` */
export function seenInJson(text: string): Seen[] {
  type Row = Seen & { readonly "finalization-locked": boolean };
  const { deployments } = JSON.parse(text) as { deployments: Row[] };
  return deployments.map(({ stateroot, checksum, serial, booted, staged, pinned, ...row }) => {
    return { stateroot, checksum, serial, booted, staged, locked: row["finalization-locked"], pinned };
  });
}

/** `ostree admin status`, of a sysroot that is not booted */
export function seenInText(text: string): Seen[] {
  const states = { booted: false, staged: false, locked: false };
  return text.split(/^(?=  \S)/m).flatMap((block) => {
    const [, stateroot, checksum, serial] = /^ {2}(\S+) ([0-9a-f]{64})\.(\d+)/.exec(block) ?? [];
    if (stateroot === undefined || checksum === undefined) return [];
    return [{ stateroot, checksum, serial: Number(serial), ...states, pinned: /^ +Pinned: yes$/m.test(block) }];
  });
}
