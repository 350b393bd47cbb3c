import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { OneholdError } from "#base/errors.ts";
import type { GuestSuite } from "#fixtures/guest-kernel.ts";
import { makeGuestDisk, noGuests, runGuest } from "#fixtures/guest.ts";
import { runModern } from "#fixtures/modern-chroot.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder, type TemporaryFolder, unmount } from "#fixtures/temporary-folders.ts";
import { verityDigest } from "#formats/fs-verity.ts";
import { mountImage } from "#host/composefs-mount.ts";
import { addImage, makeRepository } from "../mount/repositories.ts";
import type { GuestPlan, GuestReport } from "./guest-plan.ts";

/** Around the ends of a block, and of what one and two levels of hashes hold; bytes of 0x5a. */
const vectorSizes = {
  sha256: [0, 1, 4095, 4096, 4097, 524287, 524288, 524289],
  sha512: [0, 1, 4095, 4096, 4097, 262143, 262144, 262145],
} as const;
/** One byte more than three levels of SHA-512 hold; of SHA-256 they hold four times as much. */
const largeSize = 64 * 64 * 4096 + 1;
const filler = (size: number) => Buffer.alloc(size, 0x5a);

const goodSizes = [65, 4095, 4096, 4097, 262144, 262145, 524287, 524288, 524289];
const flippedByte = 200_000;

let folder: TemporaryFolder;
let system: string;
let data: string;
let plan: GuestPlan;
let tree: string;

function write(path: string, content: Buffer | string): void {
  writeFileSync(path, content);
}

async function makeData(): Promise<void> {
  const root = join(folder.path, "data");
  const repository = makeRepository(join(root, "repository"));
  tree = join(folder.path, "tree");
  mkdirSync(tree);
  const goodFiles = goodSizes.map((size) => `good-${size}`);
  for (const [index, size] of goodSizes.entries()) write(join(tree, goodFiles[index] ?? ""), filler(size));
  const special = { flipped: 300_000, replaced: 6000, missing: 7000, unprotected: 8000 };
  for (const [name, size] of Object.entries(special)) write(join(tree, name), randomBytes(size));
  const good = await addImage(repository, tree, "deep/good");
  const lines = (await runModern(["composefs-info", "dump", good.file])).split("\n");
  const objectOf = (name: string): string => lines.find((line) => line.startsWith(`/${name} `))?.split(" ")[8] ?? "";

  const small = async (name: string, size: number) => {
    const path = join(folder.path, name);
    mkdirSync(path);
    write(join(path, "file"), randomBytes(size));
    return addImage(repository, path, `deep/${name}`);
  };
  const [flipped, unprotected, lonely] = [await small("flip", 10), await small("bare", 10), await small("lone", 5000)];
  const lonelyObject = (await runModern(["composefs-info", "objects", lonely.file])).trim();
  const misnamed = "f".repeat(64);
  mkdirSync(join(repository, "objects/ff"), { recursive: true });
  copyFileSync(good.file, join(repository, "objects/ff", misnamed.slice(2)));
  symlinkSync(`../objects/ff/${misnamed.slice(2)}`, join(repository, "images", misnamed));

  const vectors = ["sha256", "sha512"] as const;
  mkdirSync(join(root, "vectors"));
  const names = vectors.flatMap((algorithm) =>
    [...vectorSizes[algorithm], largeSize].map((size) => `${algorithm}-${size}`),
  );
  for (const name of names) write(join(root, "vectors", name), filler(Number(name.slice(7))));

  // The plan comes last, but its place on the disk must be taken before blocks are asked for.
  const makeDisk = async (flips: number[]): Promise<void> => {
    plan = {
      vectors: names,
      objects: {
        replaced: objectOf("replaced"),
        missing: objectOf("missing"),
        unprotected: [objectOf("unprotected"), lonelyObject, objectIn(unprotected.digest)],
      },
      images: {
        good: good.digest,
        flipped: flipped.digest,
        misnamed,
        unprotected: unprotected.digest,
        lonely: lonely.digest,
      },
      goodFiles,
      flips,
      flippedAt: flippedByte,
    };
    write(join(root, "plan.json"), JSON.stringify(plan).padEnd(8192));
    data = join(folder.path, "data.img");
    rmSync(data, { force: true });
    await runProgram("mkfs.ext4", ["-q", "-F", "-b", "4096", "-O", "verity", "-d", root, data, "256M"]);
  };
  const place = async (object: string, byte: number): Promise<number> => {
    const blocks = await runProgram("debugfs", ["-R", `blocks /repository/objects/${object}`, data]);
    const block = Number(blocks.trim().split(/\s+/)[Math.floor(byte / 4096)]);
    assert.ok(block > 0, blocks);
    return block * 4096 + (byte % 4096);
  };
  await makeDisk([0, 0]);
  const flips = [await place(objectOf("flipped"), flippedByte), await place(objectIn(flipped.digest), 1100)];
  await makeDisk(flips);
  assert.deepEqual(flips, [await place(objectOf("flipped"), flippedByte), await place(objectIn(flipped.digest), 1100)]);
}

function objectIn(digest: string): string {
  return `${digest.slice(0, 2)}/${digest.slice(2)}`;
}

async function report(suite: GuestSuite): Promise<GuestReport> {
  copyFileSync(data, diskOf(suite));
  return JSON.parse(await runGuest({ suite, system, disks: [diskOf(suite)] })) as GuestReport;
}

/** What this machine makes of the disk that the guest protected, if its kernel is built without fs-verity. */
async function withoutVerity(suite: GuestSuite): Promise<void> {
  if (existsSync("/proc/sys/fs/verity")) return;
  const [place, at] = ["disk", "mnt"].map((name) => join(folder.path, `${suite}-${name}`)) as [string, string];
  for (const path of [place, at]) mkdirSync(path);
  await runProgram("mount", ["-o", "loop,ro", diskOf(suite), place]);
  assert.throws(
    () => mountImage({ repository: join(place, "repository"), image: plan.images.good, directory: at }),
    (error) => error instanceof OneholdError && error.code === "unsupported" && /have fs-verity/.test(error.message),
  );
  await unmount(place);
}

const diskOf = (suite: GuestSuite) => join(folder.path, `${suite}.img`);
const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

describe("fs-verity, by the kernel of a guest", { skip: noGuests }, () => {
  before(async () => {
    folder = await makeTemporaryFolder("verity");
    const project = join(import.meta.dirname, "../../..");
    system = await makeGuestDisk(folder.path, "test/host/boot/verity-guest.ts", (root) =>
      cpSync(join(project, "dist"), join(root, "app/dist"), { recursive: true }),
    );
    await makeData();
  });
  after(() => folder[Symbol.asyncDispose]());

  for (const suite of ["forky", "trixie"] as const) {
    test(`${suite}: what the kernel measures, mounts and refuses`, async () => {
      const result = await report(suite);
      // Digests: ours and those of mkcomposefs, which named the objects, are the kernel's.
      const expected = plan.vectors.map((name) => {
        const algorithm = name.startsWith("sha512") ? "sha512" : "sha256";
        return [name, verityDigest(algorithm, filler(Number(name.slice(7)))).toString("hex")];
      });
      assert.deepEqual(result.vectors, Object.fromEntries(expected));
      assert.deepEqual(result.otherwise, {
        [plan.objects.replaced]: verityDigest("sha256", Buffer.alloc(6000, "z")).toString("hex"),
        [objectIn(plan.images.misnamed)]: plan.images.good,
      });
      // A whole repository.
      assert.deepEqual(result.mounted, { verity: true, backing: "file", digest: plan.images.good });
      for (const option of ["ro", "metacopy=on", "verity=require"]) assert.ok(result.options.includes(option), option);
      assert.deepEqual(result.good, Object.fromEntries(plan.goodFiles.map((file) => [file, sha256(join(tree, file))])));
      // Damage at the level of files.
      assert.deepEqual(result.reads, { replaced: "EIO", missing: "ENOENT", unprotected: "EIO" });
      // Damage below them: one bit of one block, in an object and in an image.
      assert.deepEqual(result.afterFlip, { firstBlock: "ok", flippedBlock: "EIO", wholeGoodFile: "ok" });
      const words: Record<keyof GuestReport["refusals"], RegExp> = {
        flipped: /^the kernel takes .* for no valid EROFS image/,
        misnamed: new RegExp(`its digest is ${plan.images.good}, not ${plan.images.misnamed}`),
        unprotected: /has no fs-verity of sha256, but its repository demands it/,
        lonely: /the kernel refuses its object .* must have fs-verity/,
        otherDigest: new RegExp(`its digest is ${plan.images.good}, not ${plan.images.lonely}`),
      };
      for (const [name, pattern] of Object.entries(words)) {
        const { code, message } = result.refusals[name as keyof typeof words];
        assert.equal(code, "corrupt", `${name}: ${message}`);
        assert.match(message, pattern);
      }
      assert.deepEqual(result.mountsLeft, []);
      await withoutVerity(suite);
      // A repository that our own code made there.
      const { bare, files, ...own } = result.own;
      const problemOfBare = "has no fs-verity, which this repository demands";
      assert.deepEqual(own, { secure: true, problems: [], problemOfBare });
      const content = createHash("sha256").update(Buffer.alloc(300_000, "own content")).digest("hex");
      assert.deepEqual(files, { 0: content, 1: content, 2: content });
      assert.match(bare, /the file \/file of image test\/v1 can't be read: the kernel refuses its object/);
      assert.partialDeepStrictEqual(result.program, { verity: true, digest: plan.images.good });
    });
  }
});
