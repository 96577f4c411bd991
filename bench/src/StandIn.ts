/**
 * Puts a file in memory in the place of the devices, for the library and for C alike: they make the same system calls,
 * and nothing is mapped by Xen. What differs is the language.
 */
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as Page from "@xen-shbuf/core/Page"
import * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import koffi from "koffi"
import * as Devices from "../../packages/xen-gntdev/src/internal/Devices.ts"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as Native from "../guest/Native.ts"
import * as Cc from "./Cc.ts"

/** Pages of the file that each side may share; C's come after ours. */
const pagesEach = 2 ** 18

/** The file: what is not written takes no memory. */
export const memory = Effect.acquireRelease(
  Effect.sync(() => Result.getOrThrow(MappedMemory.memfd("xen-shbuf-bench", 2 * pagesEach * Page.size))),
  (fd) => Effect.sync(() => MappedMemory.close(fd))
)

/** The C program of the benchmark on Xen, with another library behind it; `undefined` where there is no C compiler. */
export const native = Effect.fnUntraced(function*(fd: number, options: ReadonlyArray<string> = []) {
  const path = yield* Cc.compile(["grants.c", "standin/standin.c"], [
    ...["-I", `${Cc.folder}/standin`, "-DCLOCK=CLOCK_PROCESS_CPUTIME_ID", `-DFIRST=${pagesEach}`],
    ...options
  ])
  return path === undefined ? undefined : yield* Native.start(path, fd)
})

/** The library's calls, of which the requests to devices go to the stand-in; `undefined` where there is no C compiler. */
export const calls = Effect.fnUntraced(function*(fd: number) {
  const path = yield* Cc.library(["standin/standin.c"])
  if (path === undefined) return undefined
  const ioctl = koffi.load(path).func("int standin_ioctl(int, unsigned long, void*)")
  const system: SystemCalls.SystemCalls = {
    ...SystemCalls.native(),
    open: (_, flags) => SystemCalls.native().open(`/proc/self/fd/${fd}`, flags),
    ioctl: (fd, request, argument) => ioctl(fd, request, argument) < 0 ? -koffi.errno() : 0
  }
  return system
})

/** The real devices' driver over such calls, as the service that a program has. */
export const table = (system: SystemCalls.SystemCalls) => Effect.map(Devices.make(() => system), GrantTable.make)
