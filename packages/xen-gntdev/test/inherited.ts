/**
 * Maps a page, and prints whether a child that is forked now would have it too.
 */
import * as Result from "effect/Result"
import { readFileSync } from "node:fs"
import * as MappedMemory from "../src/MappedMemory.ts"

const byteLength = 4096
const fd = Result.getOrThrow(MappedMemory.memfd("inherited", byteLength))
const region = Result.getOrThrow(MappedMemory.map([{ fd, offset: 0, byteLength }], "read-write"))
// "dc" is "do not copy area on fork" (Documentation/filesystems/proc.rst).
const [, flags = ""] = /memfd:inherited[^]*?^VmFlags:(.*)$/m.exec(readFileSync("/proc/self/smaps", "utf8")) ?? []
console.log(!flags.split(" ").includes("dc"))
MappedMemory.unmap(region)
MappedMemory.close(fd)
