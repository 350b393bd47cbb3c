import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { OneholdError } from "#base/errors.ts";
import { type ByteString, byteStringOfText } from "#base/bytes.ts";
import {
  composefsContexts,
  type ContextFileName,
  type FileContexts,
  libselinuxContexts,
} from "#formats/file-contexts.ts";
import type { FileType } from "#formats/file-contexts-lines.ts";
import { newSeed } from "./mutations.ts";

type Texts = Partial<Record<ContextFileName, string | Buffer>>;

function filesOf(texts: Texts): Map<ContextFileName, Buffer> {
  return new Map(Object.entries(texts).map(([name, text]) => [name as ContextFileName, Buffer.from(text)]));
}

const readers = { libselinux: libselinuxContexts, composefs: composefsContexts };

function bothLabels(texts: Texts, path: string, type: FileType = "-"): (string | undefined)[] {
  return Object.values(readers).map((read) => read(filesOf(texts)).labelOf(byteStringOfText(path), type));
}

/** Answers of matchpathcon 3.4 where it is libselinux's; of composefs-rs by its source, as in the facts. */
describe("where the two readers differ", () => {
  const differences: Record<string, { rules: Texts; path: string; libselinux?: string; composefs?: string }> = {
    "a path before a pattern": {
      rules: { file_contexts: "/x\tpath_t\n/x.*\tpattern_t\n" },
      path: "/x",
      libselinux: "path_t",
      composefs: "pattern_t",
    },
    ".local after .homedirs": {
      rules: {
        file_contexts: "/.*\ta_t\n",
        "file_contexts.local": "/x.*\tl_t\n",
        "file_contexts.homedirs": "/x.*\th_t\n",
      },
      path: "/x",
      libselinux: "l_t",
      composefs: "h_t",
    },
    "a substitution of a parent": {
      rules: { file_contexts: "/.*\ta_t\n/y/.*\ty_t\n", "file_contexts.subs_dist": "/x /y\n" },
      path: "/x/f",
      libselinux: "y_t",
      composefs: "a_t",
    },
    "alternatives without a group": {
      rules: { file_contexts: "/x/a|/y/b\tx_t\n" },
      path: "/x/ab",
      libselinux: "x_t",
    },
    "a newline at the end": { rules: { file_contexts: "/x(y)?\tx_t\n" }, path: "/xy\n", libselinux: "x_t" },
    "a slash that may be missing": { rules: { file_contexts: "/x/?\tx_t\n" }, path: "/x", composefs: "x_t" },
  };
  for (const [what, { rules, path, libselinux, composefs }] of Object.entries(differences)) {
    test(what, () => assert.deepEqual(bothLabels(rules, path), [libselinux, composefs]));
  }
});

test("what both read alike", () => {
  const rules = {
    file_contexts:
      "  # a comment\n\n/.*\tany_t\n /d  -d   dir_t \n/n.*\t<<none>>\n/p\\.q[+]\tp_t\r\n/l\t-l\tlink_t\n/w/[^/]{2,3}(/.*)?\tw_t",
  };
  const labels = (path: string, type?: FileType) => [...new Set(bothLabels(rules, path, type))];
  assert.deepEqual(labels("/"), ["any_t"]);
  assert.deepEqual(labels("/d"), ["any_t"]);
  assert.deepEqual(labels("/d", "d"), ["dir_t"]);
  assert.deepEqual(labels("/name"), [undefined]);
  assert.deepEqual(labels("/p.q+"), ["p_t"]);
  assert.deepEqual(labels("/pxq+"), ["any_t"]);
  assert.deepEqual(labels("/l", "l"), ["link_t"]);
  assert.deepEqual(labels("/w/a"), ["any_t"]);
  assert.deepEqual(labels("/w/ü"), ["w_t"], "two bytes");
  assert.deepEqual(labels("/w/abc/x/\n/y"), ["w_t"]);
});

describe("malformed files are refused", () => {
  const both: Record<string, Texts> = {
    "no file_contexts": { "file_contexts.local": "/a\ta_t\n" },
    "a rule without a label": { file_contexts: "/a\n" },
    "a type that there is not": { file_contexts: "/a\t-x\ta_t\n" },
    "a label that is not ASCII": { file_contexts: "/a\tä_t\n" },
    "a NUL": { file_contexts: "/a\ta_t\0\n" },
    "a group that does not end": { file_contexts: "/a(b\ta_t\n" },
    "a group that does not begin": { file_contexts: "/a)b.\ta_t\n" },
    "a set that does not end": { file_contexts: "/a[b\ta_t\n" },
    "a range the wrong way": { file_contexts: "/a[b-a]\ta_t\n" },
    "a repetition of nothing": { file_contexts: "*a\ta_t\n" },
    "an impossible count": { file_contexts: "/a{3,2}\ta_t\n" },
    "a backslash at the end": { file_contexts: "/a.\\\ta_t\n" },
  };
  for (const [what, texts] of Object.entries(both)) {
    test(what, () => {
      for (const read of Object.values(readers)) assert.throws(() => read(filesOf(texts)), { code: "corrupt" });
    });
  }
  const composefsAlone: Record<string, Texts> = {
    "something after the label": { file_contexts: "/a\t--\ta_t\tmore\n" },
    "a type without a label": { file_contexts: "/a\t--\n" },
    "one path in .subs": { file_contexts: "/a\ta_t\n", "file_contexts.subs": "/a\n" },
    "three paths in .subs": { file_contexts: "/a\ta_t\n", "file_contexts.subs": "/a /b /c\n" },
    "a comment that is not UTF-8": { file_contexts: Buffer.from("# \xff\n", "latin1") },
  };
  for (const [what, texts] of Object.entries(composefsAlone)) {
    test(`${what}, by composefs-rs alone`, () => {
      assert.throws(() => composefsContexts(filesOf(texts)), { code: "corrupt" });
      libselinuxContexts(filesOf(texts));
    });
  }
});

test("a rule that can't be understood may be meant for a path without what it may lack", () => {
  const contexts = composefsContexts(filesOf({ file_contexts: "/.*\tany_t\n/x/?(?=a)b\tx_t\n" }));
  assert.throws(() => contexts.labelOf("/x" as ByteString, "-"), { code: "unsupported" });
});

test("an expression that can't be understood ends in an error where it may be meant, and only there", () => {
  for (const pattern of [
    "/x/(?=a)b",
    "/x/a++",
    "/x/a**",
    "/x/\\1",
    "/x/a$",
    "/x/(?i)a",
    "/x/[[:alpha:]]",
    "/x/[a&&b]",
    "/x/a{,2}",
  ]) {
    for (const read of Object.values(readers)) {
      const contexts = read(filesOf({ file_contexts: `/.*\tany_t\n${pattern}\tx_t\n/x/aa.*\taa_t\n` }));
      const labelOf = (path: string) => contexts.labelOf(byteStringOfText(path), "-");
      assert.equal(labelOf("/y"), "any_t", pattern);
      assert.equal(labelOf("/x/aab"), "aa_t", `${pattern}: a later rule wins anyway`);
    }
    const contexts = libselinuxContexts(filesOf({ file_contexts: `/.*\tany_t\n${pattern}\tx_t\n` }));
    assert.throws(() => contexts.labelOf("/x/b" as ByteString, "-"), {
      code: "unsupported",
      message: /line 2 of file_contexts/,
    });
  }
});

describe("hostile policies end in an error or a label, soon", () => {
  const long = `/${"a".repeat(4000)}` as ByteString;
  const patterns: Record<string, string> = {
    "nested repetition": "/(a*)*b",
    "repetition nested deeper": `/${"(".repeat(40)}a*${")*".repeat(40)}b`,
    "alternatives that are the same": "/(a|a|a)*b",
    "many wildcards": `/${".*a".repeat(60)}b`,
    "optional ones": `/${"a?".repeat(900)}${"a".repeat(900)}b`,
    "a count of counts": "/((a{9}){9}){9}b",
    "too large counts": "/((a{999}){999}){999}",
    "counts of nothing": "/((){65535}){65535}",
    "far back": `/.*a.{30}b`,
    "very far back": `/.*a.{900}b`,
    groups: `/${"(".repeat(2000)}${")".repeat(2000)}`,
  };
  for (const [what, pattern] of Object.entries(patterns)) {
    test(what, () => {
      const start = performance.now();
      for (const read of Object.values(readers)) {
        try {
          const contexts = read(filesOf({ file_contexts: `${pattern}\ta_t\n` }));
          assert.equal(contexts.labelOf(long, "-"), undefined);
        } catch (error) {
          assert.ok(error instanceof OneholdError, String(error));
          assert.equal(error.code, "unsupported");
        }
      }
      assert.ok(performance.now() - start < 30_000, `${performance.now() - start} ms`);
    });
  }

  test("many slow rules for many paths", () => {
    const rules = Array.from({ length: 3000 }, (_, i) => `/.*a.{${i % 30}}[bc]${i}\ta_t\n`).join("");
    const contexts = libselinuxContexts(filesOf({ file_contexts: rules }));
    const start = performance.now();
    const ask = () => {
      for (let i = 0; i < 5000; i++) contexts.labelOf(`${long}${i}` as ByteString, "-");
    };
    assert.throws(ask, { code: "unsupported", message: /too long/ });
    assert.ok(performance.now() - start < 30_000, `${performance.now() - start} ms`);
  });

  test("many rules beside every path", () => {
    const rules = Array.from({ length: 90_000 }, (_, i) => `/b.${i}\ta_t\n`).join("");
    const contexts = libselinuxContexts(filesOf({ file_contexts: rules }));
    const start = performance.now();
    const ask = () => {
      for (let i = 0; i < 100_000; i++) contexts.labelOf(`/a${i}` as ByteString, "-");
    };
    assert.throws(ask, { code: "unsupported", message: /too long/ });
    assert.ok(performance.now() - start < 30_000, `${performance.now() - start} ms`);
  });

  test("as many sets as a file can hold", () => {
    const rule = `/${"\\d[^a]".repeat(500)}\ta_t\n`;
    const rules = rule.repeat(Math.floor((4 << 20) / rule.length));
    const start = performance.now();
    for (const read of Object.values(readers)) {
      const contexts = read(filesOf({ file_contexts: rules }));
      assert.throws(() => contexts.labelOf(long, "-"), { code: "unsupported" });
    }
    assert.ok(performance.now() - start < 30_000, `${performance.now() - start} ms`);
  });

  test("too much of everything", () => {
    const huge: Record<string, string> = {
      line: `/${"a".repeat(5000)}\ta_t\n`,
      rules: "/a\ta_t\n".repeat(100_001),
      file: "#\n".repeat(3 << 20),
    };
    for (const text of Object.values(huge)) {
      for (const read of Object.values(readers)) {
        assert.throws(() => read(filesOf({ file_contexts: text })), { code: "unsupported" });
      }
    }
    const subs = { file_contexts: "/a\ta_t\n", "file_contexts.subs": "/a /b\n".repeat(2001) };
    assert.throws(() => libselinuxContexts(filesOf(subs)), { code: "unsupported" });
  });
});

test("5,000 damaged policies give labels or an error", (t) => {
  const seed = newSeed();
  t.diagnostic(`seed ${seed}`);
  const whole =
    "/.*\tany_t\n/(a|b)*c[^/]+\t--\tc_t\n/d\\.[a-c]{2,3}(/.*)?\t-d\td_t\n/e/f\t<<none>>\n/(?:x|y)?z+.\tz_t\n# end\n";
  const damage = fc.array(
    fc.record({
      at: fc.nat(whole.length),
      taken: fc.nat(6),
      put: fc.string({ unit: fc.constantFrom(..."()[]{}*+?|\\.^$-/,0a9\t\n \0ÿ:".split("")), maxLength: 4 }),
    }),
    { minLength: 1, maxLength: 5 },
  );
  const codes = new Map<string, number>();
  for (const changes of fc.sample(damage, { seed, numRuns: 5000 })) {
    const text = changes.reduce((old, { at, taken, put }) => old.slice(0, at) + put + old.slice(at + taken), whole);
    for (const read of Object.values(readers)) {
      const code = outcome(read, text);
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
  }
  assert.deepEqual([...codes.keys()].toSorted(), ["corrupt", "fine", "unsupported"]);
});

function outcome(read: (files: Map<ContextFileName, Buffer>) => FileContexts, text: string): string {
  try {
    const contexts = read(filesOf({ file_contexts: Buffer.from(text, "latin1"), "file_contexts.subs": "/a /b\n" }));
    for (const path of ["/", "/ac", "/d.ab/x", "/e/f", "/zz\n", "/aabbcx"]) contexts.labelOf(path as ByteString, "d");
    return "fine";
  } catch (error) {
    if (error instanceof OneholdError) return error.code;
    throw error;
  }
}
