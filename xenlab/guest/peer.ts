/**
 * Shares and maps buffers as the host tells it, one JSON command a line, and answers each with one event.
 *
 * It holds what it is told to hold until it is told otherwise, or killed. Usage: node peer.mjs
 */
import type { DirectoryError } from "@xen-shbuf/core/DirectoryError"
import { type EventChannel, EventChannels } from "@xen-shbuf/core/EventChannels"
import * as Ending from "@xen-shbuf/core/Ending"
import type { GrantTable, UnmapNotify } from "@xen-shbuf/core/GrantTable"
import type { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { nextLine, refusal, say } from "./Program.ts"
import { isSignalled } from "./Signals.ts"

/** Where a buffer is. Sizes are in bytes. */
interface Location {
  readonly peer: number
  readonly directory: number
  readonly byteLength: number
}

/** What the host can ask for; `as` and `of` name buffers. The last byte of each is its flag. */
export type Request =
  | { readonly do: "share"; readonly as: string; readonly peer: number; readonly byteLength: number }
  | { readonly do: "map" | "provide"; readonly as: string } & Location
  | { readonly do: "alloc by backend"; readonly as: string; readonly peer: number; readonly byteLength: number }
  /** Maps what the backend has filled into the directory `of`. */
  | { readonly do: "map filled"; readonly as: string; readonly of: string }
  | { readonly do: "fill"; readonly of: string; readonly value: number }
  /** Answers with the buffer's first byte and its flag. */
  | { readonly do: "look"; readonly of: string }
  /** Clears the flag, and signals the port, when our side of the buffer ends. */
  | { readonly do: "arm"; readonly of: string; readonly signalPort: number }
  | { readonly do: "listen"; readonly peer: number }
  | { readonly do: "join"; readonly peer: number; readonly port: number }
  | { readonly do: "signalled" }
  /** Waits until the flag is 0. */
  | { readonly do: "wait"; readonly of: string }
  /** Ends the buffer when its flag is 0. */
  | { readonly do: "end"; readonly of: string }
  | { readonly do: "release"; readonly of: string }
  /** From now on writes all over these buffers, but for the flags. */
  | { readonly do: "hammer"; readonly of: ReadonlyArray<string> }
  /** From now on maps and releases the buffer. */
  | { readonly do: "map again and again" } & Location
  /** Maps and releases the buffer so many times, and counts the outcomes (see `outcome`). */
  | { readonly do: "storm"; readonly times: number } & Location

interface Kept {
  readonly scope: Scope.Closeable
  readonly bytes: SharedMemory.Writable
  readonly unmapNotify?: UnmapNotify
  readonly end?: Ending.EndByConsent
  readonly map?: SharedBuffer.SharedDirectory["map"]
}

type Refused = GrantTableError | DirectoryError

const page = 4096

/** Each page of a storm's buffer begins with its number, from 1: how often it was mapped right, or why it was not. */
const outcome = Effect.fnUntraced(function*(location: Location) {
  const { bytes, pages } = yield* PeerBuffer.map(location)
  const words = SharedMemory.viewAs(bytes, Uint32Array)
  const found = new Set(Array.from({ length: pages }, (_, i) => words[i * page / 4]!))
  return found.size === pages && [...found].every((number) => number >= 1 && number <= pages) ? "mapped" : "WRONG PAGES"
}, Effect.scoped, Effect.catch((error: Refused) => Effect.succeed(error.reason._tag)))

const main = Effect.gen(function*() {
  const scope = yield* Effect.scope
  const held = new Map<string, Kept>()
  const channels = yield* EventChannels
  const open: Array<EventChannel> = []

  const named = (name: string): Kept => {
    const one = held.get(name)
    if (one === undefined) throw new Error(`nothing is held as ${name}`)
    return one
  }
  const hold = <A extends Omit<Kept, "scope" | "bytes"> & { readonly bytes?: SharedMemory.Writable }>(
    as: string,
    acquire: Effect.Effect<A, Refused, GrantTable | Scope.Scope>
  ): Effect.Effect<A, Refused, GrantTable> =>
    Effect.gen(function*() {
      const own = yield* Scope.fork(scope)
      const one = yield* Scope.provide(acquire, own).pipe(Effect.onError(() => Scope.close(own, Exit.void)))
      held.set(as, { ...one, bytes: one.bytes ?? new Uint8Array(0), scope: own })
      return one
    })
  const byteCleared = (bytes: SharedMemory.Readable) => Effect.orDie(Ending.byteCleared(bytes, bytes.length - 1))

  const obey = Effect.fnUntraced(function*(request: Request) {
    switch (request.do) {
      case "share": {
        const { directory } = yield* hold(request.as, SharedBuffer.alloc(request))
        return { directory }
      }
      case "alloc by backend": {
        const { directory } = yield* hold(request.as, SharedBuffer.allocByBackend(request))
        return { directory }
      }
      case "map":
        yield* hold(request.as, PeerBuffer.map(request))
        return {}
      case "provide":
        yield* hold(request.as, PeerBuffer.allocForFrontend(request))
        return {}
      case "map filled":
        yield* hold(request.as, named(request.of).map!())
        return {}
      case "fill":
        named(request.of).bytes.fill(request.value)
        return {}
      case "look": {
        const { bytes } = named(request.of)
        return { first: bytes[0], flag: bytes[bytes.length - 1] }
      }
      case "arm": {
        const { bytes, unmapNotify } = named(request.of)
        yield* unmapNotify!({ clearByte: bytes.length - 1, signalPort: request.signalPort })
        return {}
      }
      case "listen":
        open.push(yield* channels.listen(request))
        return { port: open.at(-1)!.port }
      case "join":
        open.push(yield* channels.join(request))
        return { port: open.at(-1)!.port }
      case "signalled":
        return { ports: (yield* Effect.filter(open, isSignalled)).map(({ port }) => port) }
      case "wait":
        yield* Effect.timeout(byteCleared(named(request.of).bytes), "20 seconds")
        return {}
      case "end": {
        const { bytes, end } = named(request.of)
        return yield* end!({ consent: byteCleared(bytes), within: "20 seconds", otherwise: "keep" })
      }
      case "release":
        yield* Scope.close(named(request.of).scope, Exit.void)
        held.delete(request.of)
        return {}
      case "hammer": {
        const all = request.of.map((name) => named(name).bytes)
        let value = 0
        yield* Effect.sync(() => {
          value = value % 255 + 1
          for (const bytes of all) bytes.subarray(0, -1).fill(value)
        }).pipe(Effect.andThen(Effect.sleep(0)), Effect.forever, Effect.forkScoped)
        return {}
      }
      case "map again and again":
        yield* Effect.scoped(PeerBuffer.map(request)).pipe(
          Effect.andThen(Effect.sleep(0)),
          Effect.forever,
          Effect.forkScoped
        )
        return {}
      case "storm": {
        const counts: Record<string, number> = {}
        for (let n = 0; n < request.times; n++) {
          const found = yield* outcome(request)
          counts[found] = (counts[found] ?? 0) + 1
        }
        return { counts }
      }
    }
  })

  yield* say("ready")
  for (let line = yield* nextLine; line !== undefined; line = yield* nextLine) {
    yield* obey(JSON.parse(line) as Request).pipe(
      Effect.matchEffect({
        onSuccess: (fields) => say("done", fields),
        onFailure: (error) =>
          error._tag === "TimeoutError" ? say("late") : say("refused", refusal(error))
      })
    )
  }
})

await Effect.runPromise(Effect.scoped(main).pipe(Effect.provide(XenDevices.layer())))
