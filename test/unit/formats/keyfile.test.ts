import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseKeyfile } from "#formats/keyfile.ts";

function contentOf(text: string): Record<string, Record<string, string | undefined>> {
  const keyfile = parseKeyfile(text);
  const entries = (group: string) => keyfile.keys(group).map((key) => [key, keyfile.get(group, key)]);
  return Object.fromEntries(keyfile.groups().map((group) => [group, Object.fromEntries(entries(group))]));
}

test("the config of an ostree repository", () => {
  const config = parseKeyfile(
    '[core]\nrepo_version=1\nmode=bare\n\n[remote "a.b"]\nurl=http://x;y\ngpg-verify=false\n',
  );
  assert.equal(config.get("core", "mode"), "bare");
  assert.equal(config.get("core", "nothing"), undefined);
  assert.equal(config.get("nothing", "mode"), undefined);
  assert.equal(config.get('remote "a.b"', "url"), "http://x;y");
  assert.equal(config.boolean('remote "a.b"', "gpg-verify"), false);
  assert.equal(config.boolean("core", "fsync"), undefined);
  assert.deepEqual(config.groups(), ["core", 'remote "a.b"']);
  assert.deepEqual(config.keys("core"), ["repo_version", "mode"]);
  assert.deepEqual(config.keys("nothing"), []);
});

/** What GLib 2.74 makes of the same text. */
const readings: Record<string, Record<string, Record<string, string>>> = {
  "": {},
  "\n\n": {},
  "[a]": { a: {} },
  "[a]\r\nk=v\r\n": { a: { k: "v" } },
  "[a] \nk = v \n": { a: { k: "v " } },
  " [a]\n\t k\t = v": { a: { k: "v" } },
  "[a]\nk=": { a: { k: "" } },
  "[a]\nk==v": { a: { k: "=v" } },
  "[a]\nk= =v": { a: { k: "=v" } },
  "[a]\na b=v": { a: { "a b": "v" } },
  "[a]\nü=v": { a: { ü: "v" } },
  "[ü]\n[ a ]": { ü: {}, " a ": {} },
  "[a]\nk\u00a0=v": { a: { "k\u00a0": "v" } },
  "[a]\nk.x_y/-*=v": { a: { "k.x_y/-*": "v" } },
  "[a]\nk=a\rb": { a: { k: "a\rb" } },
  "[a]\nk=v\r\r\nj=w": { a: { k: "v\r", j: "w" } },
  "[a]\n # c\n#c\nk=v # c": { a: { k: "v # c" } },
  "[a]\nk=a\\sb\\n\\t\\r\\\\c": { a: { k: "a b\n\t\r\\c" } },
  "[a]\nk=\\sx\\s": { a: { k: " x " } },
  "[a]\nk=1\nk=2\n[b]\n[a]\nj=3": { a: { k: "2", j: "3" }, b: {} },
  "[a]\nk[de]=x\nk[sr@latin]=x\nk=y": { a: { k: "y" } },
  "[a]\nk[de]=x": { a: {} },
};

describe("what GLib reads", () => {
  for (const [text, content] of Object.entries(readings)) {
    test(JSON.stringify(text), () => assert.deepEqual(contentOf(text), content));
  }
});

describe("what GLib refuses", () => {
  const refused = [
    "k=v",
    "[a]x\nk=v",
    "[a] #c",
    "[a]=v",
    "[]",
    "[a]b]",
    "[a[b]",
    "[a\tb]",
    "[a]\nnope",
    "[a]\n=v",
    "[a]\nk\n=v",
    "[a]\n;c",
    "[a]\n[b",
    "[a]\n[a]=v",
    "[a]\na[=v",
    "[a]\nk]=v",
    "[a]\nk[d e]=x",
    "\ufeff[a]",
    "[a]\u000b",
  ];
  for (const text of refused)
    test(JSON.stringify(text), () => assert.throws(() => parseKeyfile(text), { code: "corrupt" }));

  test("the line is told", () => {
    assert.throws(() => parseKeyfile("[a]\n\nnope\n", "/x/config"), /line 3 of \/x\/config/);
  });

  for (const value of ["a\\qb", "a\\", "a\\;b"]) {
    test(`the escape in ${value}, when the value is asked for`, () => {
      const keyfile = parseKeyfile(`[a]\nk=${value}`);
      assert.throws(() => keyfile.get("a", "k"), { code: "corrupt" });
    });
  }
});

test("booleans", () => {
  const keyfile = parseKeyfile("[a]\nt=true \no=1\nf=false\nz=0\ny=yes\nT=TRUE\ne=\nx=true\tx");
  assert.deepEqual(
    ["t", "o", "f", "z"].map((key) => keyfile.boolean("a", key)),
    [true, true, false, false],
  );
  for (const key of ["y", "T", "e", "x"]) assert.throws(() => keyfile.boolean("a", key), { code: "corrupt" }, key);
});

test("a huge file is refused", () => {
  assert.throws(() => parseKeyfile(`[a]\nk=${"v".repeat(1 << 20)}`), { code: "corrupt" });
});
