import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder, type TemporaryFolder } from "#fixtures/temporary-folders.ts";
import { boundUnitsOfDirectory } from "#boot/bound-units.ts";
import { type BoundImage, BoundImageError, findBoundImages } from "#image/bound-images.ts";
import { boundUnitsOfTree } from "#image/bound-units.ts";
import { type TreeText, treeOf } from "../../unit/image/selinux-trees.ts";

const container = "[Container]\nImage=registry.example/app:1\n";
const bound: BoundImage[] = [{ image: "registry.example/app:1", unit: "a.container" }];

/** What is in the directory, besides a unit at /usr/share/a; and what bootc makes of it: images, or a refusal. */
const cases: Readonly<Record<string, { entries?: TreeText; unit?: string; expected: readonly BoundImage[] | string }>> =
  {
    "no directory": { expected: [] },
    "an empty directory": { entries: {}, expected: [] },
    "an absolute link": { entries: { "a.container": "→ /usr/share/a" }, unit: container, expected: bound },
    "a relative link": { entries: { "a.container": "→ ../../../share/a" }, unit: container, expected: bound },
    "a link that would lead above the root": {
      entries: { "a.container": "→ ../../../../../../../usr/share/a" },
      unit: container,
      expected: bound,
    },
    "units of both kinds, sorted": {
      entries: { "b.image": "→ /usr/share/a", "a.container": "→ /usr/share/a" },
      unit: `${container}[Image]\nImage=registry.example/other:2\n`,
      expected: [...bound, { image: "registry.example/other:2", unit: "b.image" }],
    },
    "comments, blanks, other keys and sections": {
      entries: { "a.container": "→ /usr/share/a" },
      unit: "; one\n# two\n[Unit]\nImage=not/this:1\n\n  [Container]  \r\nImage = registry.example/app:1  \r\nPull=never\nImage2=x\n",
      expected: bound,
    },
    "a line that goes on, a key that comes twice": {
      entries: { "a.container": "→ /usr/share/a" },
      unit: "[Container]\nImage=x\nExec=/bin/sh \\\n  -c Image=y\nImage=registry.example/app:1\n",
      expected: bound,
    },
    "a percent sign": {
      entries: { "a.container": "→ /usr/share/a" },
      unit: "[Container]\nImage=registry.example/a%%b\n",
      expected: [{ image: "registry.example/a%b", unit: "a.container" }],
    },
    "AuthFile in a container": {
      entries: { "a.container": "→ /usr/share/a" },
      unit: `${container}AuthFile=/etc/auth\n`,
      expected: bound,
    },
    "AuthFile in an image": {
      entries: { "a.image": "→ /usr/share/a" },
      unit: "[Image]\nImage=registry.example/app:1\nAuthFile=/etc/auth\n",
      expected: "auth-file",
    },
    "a specifier": {
      entries: { "a.container": "→ /usr/share/a" },
      unit: "[Container]\nImage=x/%i\n",
      expected: "specifier",
    },
    "a percent sign at the end": {
      entries: { "a.container": "→ /usr/share/a" },
      unit: "[Container]\nImage=x/y%\n",
      expected: "specifier",
    },
    "no image": { entries: { "a.container": "→ /usr/share/a" }, unit: "[Container]\nExec=x\n", expected: "no-image" },
    "the image of the other kind": { entries: { "a.image": "→ /usr/share/a" }, unit: container, expected: "no-image" },
    "an empty image": {
      entries: { "a.container": "→ /usr/share/a" },
      unit: "[Container]\nImage=\n",
      expected: "no-image",
    },
    "a file": { entries: { "a.container": container }, expected: "not-a-symlink" },
    "a directory": { entries: { "a.container": {} }, expected: "not-a-symlink" },
    "another extension": { entries: { "a.volume": "→ /usr/share/a" }, unit: container, expected: "other-extension" },
    "an extension alone": { entries: { ".container": "→ /usr/share/a" }, unit: container, expected: "other-extension" },
    "a link to nothing": { entries: { "a.container": "→ /usr/share/b" }, expected: "dangling" },
    "a link to the machine's own files": { entries: { "a.container": "→ /etc/passwd" }, expected: "dangling" },
    "a link to a directory": { entries: { "a.container": "→ /usr/lib" }, expected: "not-a-file" },
    "no unit": { entries: { "a.container": "→ /usr/share/a" }, unit: "ELF\u0001\n", expected: "broken-unit" },
  };

let folder: TemporaryFolder;
before(async () => {
  folder = await makeTemporaryFolder("bound-images");
});
after(() => folder[Symbol.asyncDispose]());

/** What comes of it: images, or the reason of a refusal that names the entry. */
function outcome(find: () => BoundImage[]): readonly BoundImage[] | string {
  try {
    return find();
  } catch (error) {
    if (!(error instanceof BoundImageError)) throw error;
    assert.match(error.subject ?? "", /^\/usr\/lib\/bootc\/bound-images\.d\//);
    return error.reason;
  }
}

describe("bound images, in a directory and in a tree", () => {
  for (const [name, { entries, unit, expected }] of Object.entries(cases)) {
    test(name, () => {
      const text: TreeText = {
        usr: {
          ...(unit === undefined ? {} : { share: { a: unit } }),
          lib: { bootc: entries === undefined ? {} : { "bound-images.d": entries } },
        },
      };
      const { root, read } = treeOf(text);
      assert.deepEqual(
        outcome(() => findBoundImages(boundUnitsOfTree(root, read))),
        expected,
      );
      const directory = join(folder.path, name.replaceAll(/\W/g, "-"));
      write(directory, text);
      assert.deepEqual(
        outcome(() => findBoundImages(boundUnitsOfDirectory(directory))),
        expected,
      );
    });
  }

  test("a link to itself, a name that is not UTF-8, a file that is too large, a FIFO", async () => {
    const make = (name: string) => {
      const entries = join(folder.path, name, "usr/lib/bootc/bound-images.d");
      mkdirSync(entries, { recursive: true });
      return { root: join(folder.path, name), entries };
    };
    const itself = make("itself");
    symlinkSync("a.container", join(itself.entries, "a.container"));
    assert.equal(
      outcome(() => findBoundImages(boundUnitsOfDirectory(itself.root))),
      "dangling",
    );
    const named = make("named");
    symlinkSync("/usr/a", Buffer.concat([Buffer.from(`${named.entries}/\xff`, "latin1"), Buffer.from(".container")]));
    assert.equal(
      outcome(() => findBoundImages(boundUnitsOfDirectory(named.root))),
      "not-utf8",
    );
    const large = make("large");
    writeFileSync(join(large.root, "large"), Buffer.alloc(2 << 20, "#"));
    symlinkSync("/large", join(large.entries, "a.container"));
    assert.equal(
      outcome(() => findBoundImages(boundUnitsOfDirectory(large.root))),
      "broken-unit",
    );
    const fifo = make("fifo");
    await runProgram("mkfifo", [join(fifo.root, "fifo")]);
    symlinkSync("/fifo", join(fifo.entries, "a.container"));
    assert.equal(
      outcome(() => findBoundImages(boundUnitsOfDirectory(fifo.root))),
      "not-a-file",
    );
  });
});

function write(path: string, node: TreeText | string): void {
  mkdirSync(dirname(path), { recursive: true });
  if (typeof node !== "string") {
    mkdirSync(path);
    for (const [name, child] of Object.entries(node)) write(join(path, name), child as TreeText | string);
  } else if (node.startsWith("→ ")) symlinkSync(node.slice(2), path);
  else writeFileSync(path, node);
}
