import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  array,
  assert as assertProperty,
  constantFrom,
  jsonValue,
  property,
  record as arbitraryRecord,
  string,
} from "fast-check";
import { changeRecord, fieldOf, joinRecords, splitRecords } from "#stores/containers-storage/record-text.ts";

describe("a JSON array of records", () => {
  test("is taken apart and joined without a change of any record", () => {
    const record = arbitraryRecord({ id: string(), other: jsonValue() });
    assertProperty(
      property(array(record), constantFrom(undefined, 1, "\t"), (records, indent) => {
        const text = JSON.stringify(records, null, indent);
        const split = splitRecords(text);
        assert.deepEqual(
          split.map(({ id }) => id),
          records.map(({ id }) => id),
        );
        for (const { text: each } of split) assert.ok(text.includes(each));
        assert.deepEqual(JSON.parse(joinRecords(split)), JSON.parse(text));
      }),
    );
  });

  test("keeps numbers, escapes and spaces as they were written", () => {
    const first = '{"id":"a", "n": 12345678901234567890, "e":1.0e2, "s":"\\u003c]},[{\\"\\\\"}';
    const second = '{"id":"b","list":[[],{"x":[1,2]}]}';
    const records = splitRecords(` [ ${first} ,\n${second}\n] `);
    assert.deepEqual(records, [
      { id: "a", text: first },
      { id: "b", text: second },
    ]);
    assert.equal(joinRecords(records), `[${first},${second}]`);
  });

  test("can be empty, null or not there", () => {
    for (const text of ["", "[]", " [ ] ", "null"]) assert.deepEqual(splitRecords(text), []);
    assert.equal(joinRecords([]), "[]");
  });

  test("changes one field where it stands", () => {
    const [record] = splitRecords('[{"id":"a","names":["x"],"later":1}]');
    assert.ok(record);
    assert.equal(changeRecord(record, { names: ["y"] }).text, '{"id":"a","names":["y"],"later":1}');
    assert.equal(changeRecord(record, { names: undefined }).text, '{"id":"a","later":1}');
    assert.equal(
      changeRecord(record, { flags: { incomplete: true } }).text,
      '{"id":"a","names":["x"],"later":1,"flags":{"incomplete":true}}',
    );
    assert.deepEqual(fieldOf(record, "names"), ["x"]);
    assert.equal(fieldOf(record, "flags"), undefined);
  });
});
