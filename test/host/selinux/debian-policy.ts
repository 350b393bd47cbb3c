import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cached, recipeHash } from "#fixtures/cache.ts";
import { ensurePackages } from "#fixtures/packages.ts";
import { runProgram } from "#fixtures/programs.ts";
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";

/** The package has modules; what a host has is made of them when it is installed, which we do in a folder. */
const recipe = { package: "selinux-policy-default", options: ["-n", "-X", "100"], version: 1 } as const;

/** A root with nothing but /etc/selinux, as Debian's policy would be installed there. Makes it where it is missing (half a minute). */
export async function debianPolicy(): Promise<string> {
  await ensurePackages(["policycoreutils", "selinux-utils"]);
  return cached(`selinux-${recipeHash(recipe)}`, async (folder) => {
    process.stderr.write("making Debian's SELinux policy\n");
    await using work = await makeTemporaryFolder("selinux-policy");
    const unpacked = join(work.path, "root");
    await runProgram("apt-get", ["-q", "download", "-o", "APT::Sandbox::User=root", recipe.package], {
      cwd: work.path,
    });
    const archive = readdirSync(work.path).find((name) => name.endsWith(".deb"));
    if (archive === undefined) throw new Error(`apt-get downloaded no ${recipe.package}`);
    await runProgram("dpkg-deb", ["-x", join(work.path, archive), unpacked]);
    cpSync("/etc/selinux/semanage.conf", join(unpacked, "etc/selinux/semanage.conf"));
    const modules = join(unpacked, "usr/share/selinux/default");
    const names = readFileSync(join(modules, ".modules"), "utf8").split(/\s+/).filter(Boolean);
    const install = names.map((name) => `-i${join(modules, `${name}.pp.bz2`)}`);
    await runProgram("semodule", ["-p", unpacked, "-s", "default", ...recipe.options, ...install]);
    mkdirSync(join(folder, "etc"));
    cpSync(join(unpacked, "etc/selinux"), join(folder, "etc/selinux"), { recursive: true });
    // Compiled for the PCRE2 of one machine; libostree does not read them either.
    const files = join(folder, "etc/selinux/default/contexts/files");
    for (const name of readdirSync(files)) if (name.endsWith(".bin")) rmSync(join(files, name));
    writeFileSync(join(folder, "etc/selinux/config"), "# as installed\nSELINUX=permissive\nSELINUXTYPE=default\n");
  });
}
