import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "#fixtures/programs.ts";

/** One of everything that a composefs image can hold, but hardlinks, which mkcomposefs does not see in a folder. */
const script = String.raw`
mkdir -p usr/bin 'usr/a b' usr/deep/1/2/3/4/5 empty sticky
for size in 0 1 64 65 4095 4096 4097 300000; do head -c $size /dev/urandom > usr/size-$size; done
cp usr/size-300000 usr/bin/same-content
printf 'line\n' > "$(printf 'usr/a b/new\nline')"
printf 'latin1' > "$(printf 'usr/a b/caf\351')"
printf 'back' > 'usr/a b/back\slash=é'
head -c 70000 /dev/zero > usr/deep/1/2/3/4/5/leaf
for i in $(seq 300); do : > usr/deep/1/file-$i; done
ln -s ../somewhere/else usr/link
ln -s "$(printf '%0200d' 7)" usr/long-link
mkfifo usr/fifo
mknod usr/null c 1 3
mknod usr/disk b 259 70000
perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un("usr/socket")) or die'
chown 1000:1001 usr/size-65
chown -h 70000:80000 usr/link
chmod 4755 usr/size-4096
chmod 2711 usr/bin
chmod 1777 sticky
chmod 0000 usr/size-4095
setfattr -n user.text -v value usr/size-4096
setfattr -n user.empty usr/size-1
setfattr -n user.long -v "$(printf '%02000d' 1)" usr/bin
setfattr -n trusted.other -v 0x0001ff usr/size-65
setfattr -n trusted.overlay.opaque -v y sticky
setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 usr/size-4097
setfacl -m u:1234:rwx,g:55:r usr/size-64
setfacl -d -m u:1234:rx usr/bin
touch -h -d @1234567890.987654321 usr/link usr/size-0
touch -d @86400 usr/size-64 empty
touch -d @4102444800.000000001 usr/size-65
`;

/** Makes such a tree in a new folder. */
export async function makeSourceTree(folder: string): Promise<void> {
  mkdirSync(folder);
  writeFileSync(join(folder, "at-the-root"), "x".repeat(1000));
  await runProgram("bash", ["-euc", script], { cwd: folder });
}
