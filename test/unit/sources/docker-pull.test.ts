import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { OneholdError } from "#base/errors.ts";
import {
  answers,
  imageIdFromDockerApi,
  type PullLine,
  PullRefused,
  pullThroughDockerApi,
} from "#sources/docker-pull.ts";

const signal = new AbortController().signal;

async function withServer<T>(listener: RequestListener, use: (socketPath: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "onehold-api-"));
  const server = createServer(listener);
  try {
    server.listen(join(folder, "s"));
    await once(server, "listening");
    return await use(join(folder, "s"));
  } finally {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  }
}

/** Pulls from a server that answers with these pieces. */
async function pull(
  pieces: readonly (string | Buffer)[],
  status = 200,
): Promise<{ lines: PullLine[]; url: string | undefined }> {
  const lines: PullLine[] = [];
  let url: string | undefined;
  const answer: RequestListener = (request, response) => {
    url = `${request.method} ${request.url}`;
    response.writeHead(status);
    for (const piece of pieces) response.write(piece);
    response.end();
  };
  await withServer(answer, (socketPath) =>
    pullThroughDockerApi({ socketPath, name: "a.example/os:1", signal, onLine: (line) => lines.push(line) }),
  );
  return { lines, url };
}

describe("a pull through Docker's API", () => {
  test("lines come as they are cut", async () => {
    const { lines, url } = await pull([
      '{"status":"Downloading","id":"ab","progressDetail":{"curr',
      'ent":5,"total":9}}\r\n\n{"status":"x"}',
    ]);
    assert.deepEqual(lines, [
      { status: "Downloading", id: "ab", progressDetail: { current: 5, total: 9 } },
      { status: "x" },
    ]);
    assert.equal(url, "POST /images/create?fromImage=a.example%2Fos%3A1");
  });

  test("an error after status 200 is one", async () => {
    await assert.rejects(
      pull(['{"status":"Pulling fs layer","id":"ab"}\n', '{"error":"no luck","errorDetail":{"message":"no luck"}}\n']),
      (error) => {
        assert.ok(error instanceof PullRefused);
        assert.equal(error.message, "no luck");
        return true;
      },
    );
  });

  test("another status is one", async () => {
    await assert.rejects(pull(['{"message":"manifest unknown"}'], 404), {
      name: "PullRefused",
      message: "manifest unknown",
    });
    await assert.rejects(pull(["<html>"], 502), { name: "PullRefused", message: "HTTP status 502 <html>" });
  });

  for (const [what, text] of [
    ["no JSON", "progress: 5\n"],
    ["another type", '{"status":5}\n'],
    ["amounts that are none", '{"id":"ab","progressDetail":{"current":"5"}}\n'],
    ["a line without end", `{"status":"${"x".repeat(2_000_000)}`],
  ] as const) {
    test(`refused: ${what}`, async () => {
      await assert.rejects(pull([text]), (error) => error instanceof OneholdError && error.code === "corrupt");
    });
  }

  test("a connection that breaks is an error", async () => {
    const answer: RequestListener = (_, response) => {
      response.write('{"status":"x"}\n', () => response.destroy());
    };
    await assert.rejects(
      withServer(answer, (socketPath) => pullThroughDockerApi({ socketPath, name: "a/b", signal, onLine: () => {} })),
    );
  });

  test("aborting ends it", async () => {
    const abort = new AbortController();
    const hang: RequestListener = (_, response) => response.write('{"status":"x"}\n');
    const onLine = () => abort.abort();
    await assert.rejects(
      withServer(hang, (socketPath) => pullThroughDockerApi({ socketPath, name: "a/b", signal: abort.signal, onLine })),
    );
  });

  test("the ID of an image", async () => {
    const id = "ab".repeat(32);
    const answer: RequestListener = (request, response) =>
      response.end(JSON.stringify({ Id: `sha256:${id}`, url: request.url }));
    assert.equal(await withServer(answer, (path) => imageIdFromDockerApi(path, "a.example/os:1", signal)), id);
    const wrong: RequestListener = (_, response) => response.end('{"Id":"../../etc"}');
    await assert.rejects(
      withServer(wrong, (path) => imageIdFromDockerApi(path, "a/b", signal)),
      { code: "corrupt" },
    );
  });

  test("a socket where nobody listens does not answer", async () => {
    assert.equal(await answers("/nonexistent/socket", signal), false);
    assert.equal(
      await withServer(
        (_, response) => response.end("OK"),
        (path) => answers(path, signal),
      ),
      true,
    );
  });
});
