import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { sha256Digest } from "#base/digest.ts";
import { type AnnouncedBlob, trackPull } from "#sources/pull-progress.ts";

const hex = (digit: string) => digit.repeat(64);
const blob = (digit: string, size: number, kind: "layer" | "config" = "layer"): AnnouncedBlob => ({
  kind,
  digest: sha256Digest(hex(digit)),
  size,
});
const short = (digit: string) => digit.repeat(12);
const image = [blob("a", 1000), blob("b", 200), blob("c", 30, "config")];

describe("the progress of a pull", () => {
  test("totals are the manifest's, from the first event", () => {
    const { bytes, bytesTotal, steps, stepsTotal, parts } = trackPull({
      id: "os",
      blobs: image,
      estimated: false,
    }).event();
    assert.deepEqual({ bytes, bytesTotal, steps, stepsTotal }, { bytes: 0, bytesTotal: 1230, steps: 0, stepsTotal: 2 });
    assert.deepEqual(
      parts.map(({ part, id, bytesTotal: total }) => [part, id, total]),
      [
        ["layer", "sha256:aaaaaaaaaaaaaa", 1000],
        ["layer", "sha256:bbbbbbbbbbbbbb", 200],
        ["config", "sha256:cccccccccccccc", 30],
      ],
    );
  });

  test("podman's lines move the part that they name", () => {
    const tracker = trackPull({ id: "os", blobs: image, estimated: false });
    tracker.started(short("a"));
    tracker.fetched(short("a"), 400, 1000);
    tracker.cached(short("b"));
    tracker.completed(short("c"));
    tracker.completed(short("c"));
    const event = tracker.event();
    assert.deepEqual(
      event.parts.map(({ bytes, bytesCached }) => [bytes, bytesCached]),
      [
        [400, 0],
        [200, 200],
        [30, 0],
      ],
    );
    assert.deepEqual([event.bytes, event.bytesCached, event.steps, event.stepsCached], [630, 200, 1, 1]);
  });

  test("a layer that starts anew does not go back, and more than there is does not count", () => {
    const tracker = trackPull({ id: "os", blobs: image, estimated: false });
    for (const bytes of [900, 10, 5000]) {
      tracker.fetched(short("a"), bytes);
      assert.ok(tracker.event().bytes >= 900 && tracker.event().bytes <= 1000, `${tracker.event().bytes}`);
    }
  });

  test("a layer that is in the manifest twice counts once", () => {
    assert.equal(trackPull({ id: "os", blobs: [blob("a", 5), blob("a", 5)], estimated: false }).event().bytesTotal, 5);
  });

  test("without a manifest the totals come from podman", () => {
    const tracker = trackPull({ id: "os", blobs: [], estimated: false });
    tracker.started(short("a"));
    assert.equal(tracker.event().bytesTotal, 0);
    tracker.fetched(short("a"), 10, 100);
    tracker.completed(short("d"));
    assert.deepEqual([tracker.event().bytes, tracker.event().bytesTotal], [10, 100]);
    tracker.finish();
    assert.deepEqual([tracker.event().bytes, tracker.event().bytesTotal, tracker.event().steps], [100, 100, 2]);
  });

  test("in the end all is there; what never came was there before, unless sizes are all that we see", () => {
    const counted = trackPull({ id: "os", blobs: image, estimated: false });
    counted.completed(short("a"));
    counted.finish();
    assert.deepEqual([counted.event().bytes, counted.event().bytesCached, counted.event().steps], [1230, 230, 2]);
    const watched = trackPull({ id: "os", blobs: image, stored: new Set([sha256Digest(hex("a"))]), estimated: true });
    assert.equal(watched.event().bytesCached, 1000);
    watched.fetchedInAll(50);
    assert.equal(watched.event().bytes, 1050);
    watched.finish();
    assert.deepEqual([watched.event().bytes, watched.event().bytesCached], [1230, 1000]);
  });

  test("when the tag has moved since the manifest was asked for, the image that came counts", () => {
    const tracker = trackPull({ id: "os", blobs: image, estimated: false });
    tracker.cached(short("a"));
    tracker.fetched(short("e"), 70, 70);
    tracker.completed(short("e"));
    tracker.finish();
    assert.deepEqual([tracker.event().bytes, tracker.event().bytesTotal, tracker.event().stepsTotal], [1070, 1070, 2]);
  });

  test("whatever podman says: never back, never over the total", () => {
    const step = fc.record({
      verb: fc.constantFrom("started", "fetched", "cached", "completed", "sum"),
      digit: fc.constantFrom("a", "b", "c", "e"),
      bytes: fc.nat(3000),
    });
    fc.assert(
      fc.property(fc.array(step), fc.boolean(), fc.boolean(), (steps, estimated, known) => {
        const tracker = trackPull({ id: "os", blobs: known ? image : [], estimated });
        let before = tracker.event();
        const check = () => {
          const now = tracker.event();
          assert.ok(now.bytes >= before.bytes);
          assert.ok(now.bytesTotal === 0 || now.bytes <= now.bytesTotal);
          for (const part of now.parts) assert.ok(part.bytesTotal === 0 || part.bytes <= part.bytesTotal);
          for (const [index, part] of before.parts.entries()) assert.ok((now.parts[index]?.bytes ?? 0) >= part.bytes);
          before = now;
        };
        for (const { verb, digit, bytes } of steps) {
          if (verb === "sum") tracker.fetchedInAll(bytes);
          else tracker[verb](short(digit), bytes, bytes + 10);
          check();
        }
        tracker.finish();
        const end = tracker.event();
        assert.equal(end.bytes, end.bytesTotal);
        assert.equal(end.steps, end.stepsTotal);
      }),
    );
  });
});
