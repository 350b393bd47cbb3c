import type { OneholdError } from "#base/errors.ts";
import type { Projections } from "./projection/projection.ts";
import type { ImageNote } from "./records.ts";

/** What is noted of an image's way into each store. */
export type NotesOnStores = Pick<ImageNote, "ostree" | "composefs">;

/** `noted`: what was noted of an earlier pull of the image. */
export function notesOf({ ostree, composefs }: Projections, noted: ImageNote | undefined): NotesOnStores {
  const ofOstree = noteOfOstree(ostree, noted?.ostree);
  const ofComposefs = noteOfComposefs(composefs, noted?.composefs);
  return { ...(ofOstree ? { ostree: ofOstree } : {}), ...(ofComposefs ? { composefs: ofComposefs } : {}) };
}

/** Of an image that no store got now but the image store, or ostree not; what ostree had got before stays. */
export function noteOfRefusal({ code, message }: OneholdError, noted: ImageNote | undefined): ImageNote["ostree"] {
  return noted?.ostree?.state === "imported" ? noted.ostree : { state: "refused", code, message };
}

function noteOfOstree(projection: Projections["ostree"], noted: ImageNote["ostree"]): ImageNote["ostree"] {
  if (projection === undefined) return undefined;
  const { commit } = projection;
  if (projection.state === "present") return noted?.state === "imported" ? noted : { state: "present", commit };
  const { account, leftOut } = projection;
  return {
    state: "imported",
    commit,
    ...account,
    leftOut: { special: [...leftOut.special], byRule: { ...leftOut.byRule } },
  };
}

function noteOfComposefs(projection: Projections["composefs"], noted: ImageNote["composefs"]): ImageNote["composefs"] {
  if (projection === undefined) return undefined;
  const images = { ...projection.images };
  if (projection.state === "present") return noted?.state === "imported" ? noted : { state: "present", images };
  const { account, layers, refused } = projection;
  // Where only the images were made anew, what is noted tells how the bytes got there.
  const how = noted?.state === "imported" && layers.imported === 0 ? noted : account;
  const { reflinked, hardlinked, copied, present } = how;
  return { state: "imported", images, reflinked, hardlinked, copied, present, refused: [...refused] };
}
