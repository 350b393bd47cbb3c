/**
 * Changing a JSON array of records without touching the records that stay: their text is kept byte for
 * byte, so fields, number forms and an order that we know nothing of survive.
 */
export interface RecordText {
  readonly id: string;
  /** The record as it stands in the file. */
  readonly text: string;
}

/** Takes apart a JSON array of objects that JSON.parse has accepted. `null` and an empty text have no records. */
export function splitRecords(array: string): RecordText[] {
  return elementsOf(array).map((text) => {
    const record: unknown = JSON.parse(text);
    const id = isObject(record) ? record["id"] : undefined;
    if (typeof id !== "string") throw new Error("splitRecords: a record without an id was accepted before");
    return { id, text };
  });
}

export function joinRecords(records: readonly RecordText[]): string {
  return `[${records.map((record) => record.text).join(",")}]`;
}

/** The same record with some fields set, or taken away (undefined); all others stay where they are. */
export function changeRecord(record: RecordText, fields: Readonly<Record<string, unknown>>): RecordText {
  const parsed: unknown = JSON.parse(record.text);
  if (!isObject(parsed)) throw new Error("changeRecord: not an object");
  // JSON.stringify leaves out what is undefined.
  return { id: record.id, text: JSON.stringify({ ...parsed, ...fields }) };
}

/** One field of a record as it is stored. */
export function fieldOf(record: RecordText, name: string): unknown {
  const parsed: unknown = JSON.parse(record.text);
  return isObject(parsed) ? parsed[name] : undefined;
}

/** The texts of the elements of a valid JSON array. */
function elementsOf(array: string): string[] {
  const elements: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < array.length; i += 1) {
    const char = array[i];
    if (char === '"') {
      i = endOfString(array, i);
    } else if (char === "[" || char === "{") {
      depth += 1;
      if (depth === 1) start = i + 1;
    } else if (char === "]" || char === "}" || (char === "," && depth === 1)) {
      if (depth === 1) pushTrimmed(elements, array.slice(start, i));
      if (char === ",") start = i + 1;
      else depth -= 1;
    }
  }
  return elements;
}

/** The index of the closing quote of the string that opens at `start`. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
  return i;
}

function pushTrimmed(list: string[], text: string): void {
  const trimmed = text.trim();
  if (trimmed !== "") list.push(trimmed);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
