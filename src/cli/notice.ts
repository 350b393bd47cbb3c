import type { Notice } from "#base/progress.ts";
import { paint } from "./paint.ts";
import { printable } from "./printable.ts";

/** A notice as text for stderr, without the newline at its end. */
export function noticeText(notice: Notice): string {
  const text = printable(notice.text).trimEnd();
  return notice.level === "warning" ? `${paint("yellow", "warning:")} ${text}` : text;
}
