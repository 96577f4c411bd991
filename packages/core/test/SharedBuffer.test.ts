/**
 * What `alloc` does when its own grant table gives out references that no directory could list: a bug, never a buffer.
 */
import { assert, describe, it } from "@effect/vitest"
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"

const never = Effect.die(new Error("not used here"))

describe("SharedBuffer.alloc", () => {
  it.effect.each<readonly [string, ReadonlyArray<number>]>([
    ["the link is none", [8, 9, 0]],
    ["a reference is none", [0, 8, 9]],
    ["the link is there again", [8, 9, 8]],
    ["a reference is there twice", [8, 8, 9]]
  ])("dies and releases: %s", ([, refs]) =>
    Effect.gen(function*() {
      let released = 0
      const table = GrantTable.make({
        share: ({ access, pages, peer }) =>
          Effect.succeed({
            pages: {
              peer,
              access,
              refs: Uint32Array.from(refs),
              bytes: new Uint8Array(pages * 4096)
            },
            arm: () => Result.succeed(undefined),
            release: () => void released++
          }),
        map: () => never,
        read: () => never,
        copy: () => never,
        limits: never
      })
      const alloc = SharedBuffer.alloc({ peer: 1, byteLength: 2 * 4096 })
      // The scope stays open: the failure itself lets go.
      const exit = yield* Effect.exit(Effect.provideService(alloc, GrantTable.GrantTable, table))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.strictEqual(released, 1)
    }))
})
