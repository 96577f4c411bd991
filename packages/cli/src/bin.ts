#!/usr/bin/env node
/**
 * The command `xen-shbuf` in the domain that it runs in.
 *
 * @since 0.1.0
 */

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)

// An older Node fails at what is imported, before any of it could say so.
if (major > 22 || major === 22 && minor >= 19) void import("./internal/native.ts").then(({ run }) => run())
else {
  process.stderr.write(`xen-shbuf needs Node 22.19 or newer, and this is ${process.versions.node}.\n`)
  process.exitCode = 1
}
