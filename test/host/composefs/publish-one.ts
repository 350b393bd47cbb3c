/** A process that puts an image into the repository that is its argument, and says when it begins. */
import { openRepository } from "#stores/composefs/repository.ts";
import { addImage, tarOfFiles } from "./images.ts";

const [path = "", tag = "os:1", count = "2"] = process.argv.slice(2);
const layers = Array.from({ length: Number(count) }, (_, i) =>
  tarOfFiles(...Array.from({ length: 40 }, (__, j) => `${tag}-${i}-${j}`)),
);
process.stdout.write("begin\n");
await addImage(openRepository(path), { tag, layers, erofs: [{ format: 1, boot: false }] });
