import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ByteString } from "#base/bytes.ts";
import { composefsPolicy, ostreePolicy, type PolicyOrReason } from "#image/selinux-policy.ts";
import { type TextTree, treeOf, type TreeText } from "./selinux-trees.ts";

const config = "# SELINUXTYPE=no\nSELINUX=enforcing\nSELINUXTYPE=targeted\n";
const policyFiles: TreeText = {
  contexts: { files: { file_contexts: "/.*\tany_t\n/\troot_t\n" } },
  policy: { "policy.33": "binary" },
};
const whole: TreeText = { etc: { selinux: { config, targeted: policyFiles } } };

const finders = {
  composefs: ({ root, read }: TextTree) => composefsPolicy(root, read),
  ostree: ({ root, read }: TextTree) => ostreePolicy(root, read),
};

/** The policy's label for a file; the reason where there is none; the error's code. */
function outcome(find: (tree: TextTree) => PolicyOrReason, tree: TreeText): string {
  try {
    const found = find(treeOf(tree));
    if ("none" in found) return found.none;
    return `${found.type}: ${found.contexts.labelOf("/x" as ByteString, "-")}`;
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  }
}

const withConfig = (text: string): TreeText => ({ etc: { selinux: { config: text, targeted: policyFiles } } });

/** ostree's are those of ostree 2022.7 and 2026.4; composefs-rs's by its source, as in the facts. */
const cases: Record<string, { tree: TreeText; composefs: string; ostree: string }> = {
  "a whole policy": { tree: whole, composefs: "targeted: any_t", ostree: "targeted: any_t" },
  "no /etc": { tree: {}, composefs: "it has no /etc/selinux", ostree: "it has no /etc/selinux" },
  "no configuration": {
    tree: { etc: { selinux: {} } },
    composefs: "it has no /etc/selinux/config",
    ostree: "it has no /etc/selinux/config",
  },
  "no type": {
    tree: withConfig("SELINUX=enforcing\n#SELINUXTYPE=targeted\n"),
    composefs: "its /etc/selinux/config has no SELINUXTYPE",
    ostree: "corrupt",
  },
  disabled: {
    tree: withConfig("SELINUX=disabled\nSELINUXTYPE=targeted\n"),
    composefs: "targeted: any_t",
    ostree: "its /etc/selinux/config does not enable SELinux",
  },
  "neither enabled nor disabled": {
    tree: withConfig("SELINUXTYPE=targeted\n"),
    composefs: "targeted: any_t",
    ostree: "its /etc/selinux/config does not enable SELinux",
  },
  "spaces and capitals": {
    tree: withConfig("SELINUX=PERMISSIVE # so\n selinuxtype = targeted \nSELINUXTYPE=targeted  \n"),
    composefs: "targeted: any_t",
    ostree: "targeted: any_t",
  },
  "two types": {
    tree: {
      etc: { selinux: { config: "SELINUX=enforcing\nSELINUXTYPE=a\nSELINUXTYPE=b\n", a: policyFiles, b: policyFiles } },
    },
    composefs: "a: any_t",
    ostree: "b: any_t",
  },
  "a type without a policy": {
    tree: withConfig("SELINUX=enforcing\nSELINUXTYPE=mls\n"),
    composefs: "corrupt",
    ostree: "corrupt",
  },
  "no compiled policy": {
    tree: { etc: { selinux: { config, targeted: { ...policyFiles, policy: {} } } } },
    composefs: "targeted: any_t",
    ostree: "corrupt",
  },
  "no label for the root": {
    tree: {
      etc: {
        selinux: { config, targeted: { ...policyFiles, contexts: { files: { file_contexts: "/x\tx_t\n" } } } },
      },
    },
    composefs: "targeted: x_t",
    ostree: "corrupt",
  },
  "below /usr/etc, as ostree has it": {
    tree: { usr: whole },
    composefs: "it has no /etc/selinux",
    ostree: "targeted: any_t",
  },
  "symlinks on the way": {
    tree: {
      etc: { selinux: "→ ../../usr/share/./selinux" },
      usr: {
        share: {
          selinux: { config: "→ /conf", targeted: "→ /usr/share/policy/../policy", none: "→ none" },
          policy: policyFiles,
        },
      },
      conf: config,
    },
    composefs: "unsupported",
    ostree: "targeted: any_t",
  },
  "symlinks in a circle": {
    tree: { etc: { selinux: { config: "→ /a" } }, a: "→ b", b: "→ a" },
    composefs: "unsupported",
    ostree: "corrupt",
  },
  "a symlink to nothing": {
    tree: { etc: { selinux: "→ nothing" } },
    composefs: "unsupported",
    ostree: "it has no /etc/selinux",
  },
  "a directory for a file": { tree: { etc: { selinux: { config: {} } } }, composefs: "corrupt", ostree: "corrupt" },
  "a way out of the tree": {
    tree: withConfig("SELINUX=enforcing\nSELINUXTYPE=../../../../etc/selinux/targeted\n"),
    composefs: "unsupported",
    ostree: "../../../../etc/selinux/targeted: any_t",
  },
};

describe("the policy of a tree", () => {
  for (const [what, { tree, composefs, ostree }] of Object.entries(cases)) {
    test(what, () => {
      assert.equal(outcome(finders.composefs, tree), composefs, "composefs-rs");
      assert.equal(outcome(finders.ostree, tree), ostree, "ostree");
    });
  }
});

test("a file of the policy beyond all bounds is not read", () => {
  const tree = treeOf(withConfig("x".repeat((1 << 20) + 1)));
  for (const find of Object.values(finders)) {
    const read = () => assert.fail("read");
    assert.throws(() => find({ ...tree, read }), { code: "unsupported" });
  }
});

test("two policies have one identity if their files are the same", () => {
  const identity = (tree: TreeText) => {
    const found = finders.ostree(treeOf(tree));
    assert.ok("identity" in found);
    return found.identity;
  };
  const files = (more: TreeText): TreeText => ({
    usr: { etc: { selinux: { config, targeted: { ...policyFiles, contexts: { files: more } } } } },
  });
  const base = { file_contexts: "/.*\tany_t\n/\troot_t\n" };
  assert.equal(identity(whole), identity({ usr: whole }));
  assert.equal(identity(whole), identity(files(base)));
  assert.notEqual(identity(whole), identity(files({ ...base, "file_contexts.local": "" })));
  assert.notEqual(identity(whole), identity(files({ file_contexts: `${base.file_contexts}\n` })));
  assert.notEqual(
    identity(files({ ...base, "file_contexts.local": "/a\ta_t\n" })),
    identity(files({ ...base, "file_contexts.homedirs": "/a\ta_t\n" })),
  );
});
