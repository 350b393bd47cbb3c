import { makeProgramsFolder } from "./programs-folder.ts";
import { makeStoreFolder, pullOnce } from "./pull-session.ts";
import { makeOciLayout, addLayer, addImage } from "#fixtures/oci-layout.ts";
import { makeRegistry } from "#fixtures/registry.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";
import { file } from "#fixtures/tar-writer.ts";
import { randomBytes } from "node:crypto";
await using f = await makeTemporaryFolder("layout");
const layout = makeOciLayout(f.path);
const a = await addLayer(layout, { entries: [file("a", randomBytes(6_000_000))] });
const b = await addLayer(layout, { entries: [file("b", randomBytes(1_000_000))] });
addImage(layout, { tag: "os:1", layers: [a, b] });
await using registry = await makeRegistry({ layouts: [layout] });
for (const release of ["installed", "modern"] as const) {
await using programs = await makeProgramsFolder({ release });
await using store = await makeStoreFolder();
for (const source of ["auto","skopeo"] as const) console.dir(await pullOnce({ programs, store, reference: `${registry.address}/os:1`, tlsVerify: false, source }), { depth: 5 });
}
