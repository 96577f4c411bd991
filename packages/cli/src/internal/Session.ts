import type * as Page from "@xen-shbuf/core/Page"
import type * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stdio from "effect/Stdio"
import { sha256 } from "../Digest.ts"
import { Output } from "../Output.ts"
import * as Pattern from "../Pattern.ts"
import { listen } from "./Enter.ts"

/**
 * Acquires, uses, releases: what `use` gets in its second place waits for Enter. Says that everything is released
 * once it really is, also after a failure or a signal; nothing if nothing was acquired.
 */
export const run = <A, E, R, E2, R2>(
  acquire: Effect.Effect<A, E, R>,
  use: (acquired: A, enter: Effect.Effect<void>) => Effect.Effect<void, E2, R2>
): Effect.Effect<
  void,
  E | E2,
  Exclude<R, Scope.Scope> | Exclude<R2, Scope.Scope> | Output | Stdio.Stdio
> =>
  Effect.suspend(() => {
    let acquired = false
    return Effect.scoped(Effect.gen(function*() {
      const enter = yield* listen
      const resource = yield* Effect.tap(acquire, () => Effect.sync(() => {
        acquired = true
      }))
      yield* use(resource, enter)
    })).pipe(
      Effect.ensuring(Effect.suspend(() => acquired ? released : Effect.void))
    )
  })

const released = Output.use(({ event }) => event({ event: "released" }, "Released."))

/** Fills a buffer if a pattern is given, and says so. */
export const write = Effect.fnUntraced(function*(bytes: SharedMemory.Writable, pattern: Pattern.Pattern | undefined) {
  if (pattern === undefined) return
  const { event } = yield* Output
  Pattern.write(bytes, pattern)
  const hash = sha256(bytes)
  yield* event({ event: "written", sha256: hash }, `Written. Its sha256 is now ${hash}`)
})

/** Says what a buffer of ours holds at the end: what the peer wrote. */
export const contents = Effect.fnUntraced(function*(bytes: SharedMemory.Readable, before: string) {
  const { event } = yield* Output
  const hash = sha256(bytes)
  const change = hash === before ? "is unchanged" : "was changed by the peer"
  yield* event({ event: "contents", sha256: hash }, `The buffer ${change}: sha256 ${hash}`)
})

/** What is told of every buffer. */
export const summary = (pages: Page.PageCount, bytes: SharedMemory.Readable) => ({
  pages,
  bytes: bytes.length,
  sha256: sha256(bytes)
})
