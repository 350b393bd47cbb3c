/**
 * Clears what killed tests left in /var/tmp: folders, and the file systems on loop devices that are mounted
 * in them. What belongs to a process that lives is left alone.
 */
import { makeTemporaryFolder } from "#fixtures/temporary-folders.ts";

// Making one clears the abandoned ones first.
await using _ = await makeTemporaryFolder("sweep");
