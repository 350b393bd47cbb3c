import assert from "node:assert/strict";
import { test } from "node:test";
import { composefsContexts, libselinuxContexts } from "#formats/file-contexts.ts";
import { labelDifferences, OstreeLabeller, withComposefsLabels } from "#image/selinux-labels.ts";
import type { SelinuxPolicy } from "#image/selinux-policy.ts";
import type { ByteString } from "#base/bytes.ts";
import type { TreeNode } from "#image/tree.ts";
import { fileNode, labelsOf, metadata, mtime, nodeAt, treeOf } from "./selinux-trees.ts";

function policyOf(rules: string, substitutions = ""): Record<"composefs" | "ostree", SelinuxPolicy> {
  const files = new Map([
    ["file_contexts", Buffer.from(rules)],
    ["file_contexts.subs", Buffer.from(substitutions)],
  ] as const);
  const made = { type: "test" as ByteString, identity: "test" };
  return {
    composefs: { ...made, contexts: composefsContexts(files) },
    ostree: { ...made, contexts: libselinuxContexts(files) },
  };
}

test("composefs labels have no NUL, and go where the policy has none", () => {
  const { composefs } = policyOf("/.*\tany_t\n/a/.*\t<<none>>\n/b/l\t-l\tlink_t\n/f\t-p\tfifo_t\n", "/c /b\n");
  const fifo: TreeNode = {
    kind: "special",
    type: "fifo",
    metadata: metadata(0o010644),
    deviceMajor: 0,
    deviceMinor: 0,
    mtime,
  };
  const { root } = treeOf({ a: { x: fileNode("x", "", "old_t") }, b: { l: "→ x" }, c: { l: "→ x", d: {} }, f: fifo });
  const labelled = withComposefsLabels(root, composefs);
  assert.deepEqual(labelsOf(labelled), [
    "/ any_t",
    "/a any_t",
    "/a/x -",
    "/b any_t",
    "/b/l link_t",
    "/c any_t",
    "/c/l link_t",
    "/c/d any_t",
    "/f fifo_t",
  ]);
  assert.equal(withComposefsLabels(labelled, composefs), labelled, "what is labelled already stays as it is");
  assert.deepEqual(
    new Set(labelsOf(withComposefsLabels(labelled, undefined)).map((line) => line.split(" ")[1])),
    new Set(["-"]),
    "without a policy, all go",
  );
});

test("ostree labels have a NUL, and stay where the policy has none", () => {
  const { ostree } = policyOf("/.*\tany_t\n/a/.*\t<<none>>\n/mnt\t-d\tmnt_t\n/usr/etc/.*\tusretc_t\n/etc/.*\tetc_t\n");
  const { root } = treeOf({
    a: { x: fileNode("x", "", "old_t\0"), y: "" },
    proc: { self: {} },
    usr: { etc: { passwd: "" } },
    z: fileNode("z", "", "any_t\0"),
  });
  const labelled = new OstreeLabeller().relabel(root, ostree);
  assert.deepEqual(labelsOf(labelled), [
    "/ any_t\\0",
    "/a any_t\\0",
    "/a/x old_t\\0",
    "/a/y -",
    "/proc mnt_t\\0",
    "/proc/self any_t\\0",
    "/usr any_t\\0",
    "/usr/etc any_t\\0",
    "/usr/etc/passwd usretc_t\\0",
    "/z any_t\\0",
  ]);
  assert.equal(nodeAt(labelled, "z"), nodeAt(root, "z"), "labelled already");
  assert.equal(nodeAt(labelled, "a", "y"), nodeAt(root, "a", "y"), "not to be labelled");
  assert.equal(new OstreeLabeller().relabel(labelled, ostree), labelled);
});

test("hardlinks stay hardlinks only where their labels are the same", () => {
  const policies = policyOf("/.*\tany_t\n/b\tb_t\n");
  const file = fileNode("f");
  for (const relabel of [
    () => withComposefsLabels(treeOf({ a: file, b: file, c: file }).root, policies.composefs),
    () => new OstreeLabeller().relabel(treeOf({ a: file, b: file, c: file }).root, policies.ostree),
  ]) {
    const labelled = relabel();
    assert.equal(nodeAt(labelled, "a"), nodeAt(labelled, "c"));
    assert.notEqual(nodeAt(labelled, "a"), nodeAt(labelled, "b"));
  }
});

test("a file with the same label is one node, in whatever tree and by whatever policy", () => {
  const file = fileNode("f");
  const [first, second] = [policyOf("/.*\tany_t\n/b/.*\tb_t\n"), policyOf("/.*\tany_t\n/c/.*\tb_t\n")];
  const labeller = new OstreeLabeller();
  const layer = labeller.relabel(treeOf({ a: { f: file }, b: { f: file } }).root, first.ostree);
  const merged = labeller.relabel(treeOf({ a: { f: file, g: "" }, c: { f: file } }).root, second.ostree);
  assert.equal(nodeAt(layer, "a", "f"), nodeAt(merged, "a", "f"));
  assert.equal(nodeAt(layer, "b", "f"), nodeAt(merged, "c", "f"));
  assert.notEqual(nodeAt(layer, "b", "f"), nodeAt(merged, "a", "f"));
});

test("metadata that was shared is shared afterwards, other xattrs stay", () => {
  const { composefs } = policyOf("/.*\tany_t\n");
  const capability = { name: "security.capability" as ByteString, value: Buffer.from("c") };
  const shared = { ...metadata(0o100644, "old_t"), xattrs: [...metadata(0, "old_t").xattrs, capability] };
  const { root } = treeOf({ a: { ...fileNode("a"), metadata: shared }, b: { ...fileNode("b"), metadata: shared } });
  const labelled = withComposefsLabels(root, composefs);
  const [a, b] = [nodeAt(labelled, "a").metadata, nodeAt(labelled, "b").metadata];
  assert.equal(a, b);
  assert.deepEqual(
    a.xattrs.map(({ name, value }) => `${name}=${value.toString()}`),
    ["security.capability=c", "security.selinux=any_t"],
  );
});

test("where the programs would not agree", () => {
  const { composefs, ostree } = policyOf("/.*\tany_t\n/a\ta_t\n/a.*\tlater_t\n/s/x\ts_t\n", "/t /s\n");
  const { root } = treeOf({ a: "", b: "", s: { x: "" }, t: { x: "", y: {} } });
  const found = [...labelDifferences(root, { libselinux: ostree.contexts, composefs: composefs.contexts })];
  assert.deepEqual(found, [{ path: "/a", libselinux: "a_t", composefs: "later_t" }]);
  const others = policyOf("/.*\tany_t\n/s/x.*\ts_t\n", "/t/x /s/x\n/t /s\n");
  const deeper = treeOf({ t: { x: "", y: "" }, u: { x: "" } });
  const { contexts } = others.ostree;
  assert.deepEqual(
    [...labelDifferences(deeper.root, { libselinux: contexts, composefs: others.composefs.contexts })],
    [],
  );
});
