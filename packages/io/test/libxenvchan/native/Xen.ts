// What the library asks of Xen, between two processes on one Linux: the same as xen.c.
import type { Access } from "@xen-shbuf/core/Access"
import * as EventChannels from "@xen-shbuf/core/EventChannels"
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import type { Port } from "@xen-shbuf/core/Port"
import * as XenStore from "@xen-shbuf/core/XenStore"
import * as Arrivals from "@xen-shbuf/linux/Arrivals"
import * as MappedMemory from "@xen-shbuf/linux/MappedMemory"
import * as SystemCalls from "@xen-shbuf/linux/SystemCalls"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { execFileSync } from "node:child_process"
import { closeSync, constants, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const firstRef = 100

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** A folder that is a Xen for two, for as long as the scope, and the C program that links Debian's library to it. */
export const folder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => {
    const path = mkdtempSync(join(tmpdir(), "vchan-"))
    execFileSync("mkfifo", [join(path, "to-server"), join(path, "to-client")])
    execFileSync("truncate", ["-s", "4M", join(path, "pages")])
    return path
  }),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

/** Compiles the C program; says what is missing where that can't be. */
export const compile = (to: string): string | undefined => {
  const sources = [file("../../../../../xenlab/c/vchan.c"), file("xen.c")]
  try {
    execFileSync("cc", ["-std=gnu11", "-O2", "-o", to, ...sources, "-l:libxenvchan.a"], { stdio: "pipe" })
  } catch (error) {
    return `it takes a C compiler and Debian's libxen-dev: ${String(error).split("\n")[0]}`
  }
}

/** Pages of the file; nothing is unmapped before the process ends. */
const grantTable = (path: string): GrantTable.GrantTable["Service"] => {
  let shared = 0
  const map = (page: number, count: number, access: Access) => {
    const fd = openSync(join(path, "pages"), "r+")
    const region = Result.getOrThrow(
      MappedMemory.map([{ fd, offset: page * 4096, byteLength: count * 4096 }], access)
    )
    closeSync(fd)
    return new Uint8Array(region.buffer)
  }
  const kept = { arm: () => Result.succeed(undefined), release: () => {} }
  return GrantTable.make({
    share: ({ access, pages }) =>
      Effect.sync(() => {
        const refs = Uint32Array.from({ length: pages }, (_, i) => firstRef + shared + i)
        shared += pages
        return { refs, bytes: map(refs[0]! - firstRef, pages, access), ...kept }
      }),
    map: ({ access, refs }) =>
      Effect.sync(() => ({ bytes: map(refs[0]! - firstRef, refs.length, access), ...kept })),
    read: () => Effect.void,
    copy: () => Effect.void,
    limits: Effect.succeed({})
  })
}

/** A pipe in, and a pipe out. */
const bind = (path: string, inn: string, out: string, listener: EventChannels.Listener): EventChannels.Bound => {
  const open = (name: string) => openSync(join(path, name), constants.O_RDWR | constants.O_NONBLOCK)
  const [from, to] = [open(inn), open(out)]
  const state = { isMasked: false, isLate: false }
  const signal = () => {
    if (state.isMasked) return void (state.isLate = true)
    state.isMasked = true
    listener.signal()
  }
  const arrivals = Arrivals.make(SystemCalls.native())
  const reading = Result.getOrThrow(arrivals.read(from, new Uint8Array(4096), { data: signal, end: () => {} }))
  reading.hold(true)
  return {
    port: 1 as Port,
    notify: () => {
      writeSync(to, "!")
      return Result.succeed(undefined)
    },
    unmask: () => {
      state.isMasked = false
      if (state.isLate) {
        state.isLate = false
        queueMicrotask(signal)
      }
      return Result.succeed(undefined)
    },
    release: () => {
      reading.close()
      closeSync(from)
      closeSync(to)
    }
  }
}

const eventChannels = (path: string): EventChannels.EventChannels["Service"] =>
  EventChannels.make({
    listen: (_, listener) => Effect.sync(() => bind(path, "to-server", "to-client", listener)),
    join: (_, listener) => Effect.sync(() => bind(path, "to-client", "to-server", listener))
  })

/** All that a domain has. */
export const layer = (
  path: string
): Layer.Layer<GrantTable.GrantTable | EventChannels.EventChannels | XenStore.XenStore, never, TestXen.TestXen> =>
  Layer.mergeAll(
    Layer.sync(GrantTable.GrantTable, () => grantTable(path)),
    Layer.sync(EventChannels.EventChannels, () => eventChannels(path)),
    Layer.effect(XenStore.XenStore, Effect.flatMap(TestXen.TestXen, (xen) => xen.store(0)))
  )

const nodes = ["ring-ref", "event-channel"]

/** Tells the C program what our server has published. */
export const publish = Effect.fnUntraced(function*(path: string, base: string) {
  const store = yield* (yield* TestXen.TestXen).store(0)
  for (const node of nodes) writeFileSync(join(path, node), yield* store.readText(`${base}/${node}`))
})

/** Tells our client what the C program has published: it has said that it listens. */
export const heard = Effect.fnUntraced(function*(path: string, base: string) {
  const store = yield* (yield* TestXen.TestXen).store(0)
  for (const node of nodes) {
    if (!existsSync(join(path, node))) return yield* Effect.die(new Error(`C has not written ${node}`))
    yield* store.write(`${base}/${node}`, readFileSync(join(path, node), "utf8"))
  }
})
