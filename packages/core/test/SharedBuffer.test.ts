import { assert, describe, it } from "@effect/vitest"
import * as Chain from "@xen-shbuf/core/Chain"
import type { DirectoryError } from "@xen-shbuf/core/DirectoryError"
import * as GrantTable from "@xen-shbuf/core/GrantTable"
import type { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"

const never = Effect.die(new Error("not used here"))

/** Shares plain memory, with references from 8 on. */
const plain = (bytes: Array<Uint8Array>) =>
  GrantTable.make({
    share: ({ pages }) =>
      Effect.sync(() => {
        const memory = new Uint8Array(pages * 4096)
        bytes.push(memory)
        const refs = Uint32Array.from({ length: pages }, (_, i) => 8 + i)
        return { refs, bytes: memory, arm: () => Result.succeed(undefined), release: () => {} }
      }),
    map: () => never,
    read: () => never,
    copy: () => never,
    limits: never
  })

describe("SharedBuffer", () => {
  it.effect("a buffer begins its memory, so that a view of another type over it stays in it; its directory lies behind", () =>
    Effect.gen(function*() {
      const shared: Array<Uint8Array> = []
      const buffer = yield* Effect.provideService(
        SharedBuffer.alloc({ peer: 1, byteLength: 5000, access: "read-only" }),
        GrantTable.GrantTable,
        plain(shared)
      )
      SharedMemory.viewAs(buffer.bytes, Uint32Array).fill(0xffff_ffff)
      buffer.bytes.fill(7)
      const [memory] = shared
      assert.deepStrictEqual(memory!.subarray(0, 5000), new Uint8Array(5000).fill(7))
      assert.deepStrictEqual(memory!.subarray(5000, 8192), new Uint8Array(3192))
      assert.deepStrictEqual(Chain.refs(memory!.subarray(8192), 3), Uint32Array.of(8, 9, 0))
      assert.deepInclude<object>(buffer, { peer: 1, access: "read-only", byteLength: 5000, pages: 2, directory: 10 })
    }))

  it.effect.each([
    [0, "InvalidInput", "byteLength is 0, but must be a size in bytes"],
    [2 ** 32 + 1, "InvalidInput", "byteLength is 4294967297, but must be a size in bytes"],
    [NaN, "InvalidInput", "byteLength is NaN, but must be a size in bytes"]
  ] as ReadonlyArray<readonly [number, string, string]>)("an error names the function that was called: a size of %s", ([byteLength, tag, text]) =>
    Effect.gen(function*() {
      const refusal = (called: Effect.Effect<unknown, GrantTableError | DirectoryError, GrantTable.GrantTable | Scope.Scope>) =>
        Effect.flip(Effect.scoped(Effect.provideService(called, GrantTable.GrantTable, plain([]))))
      const { alloc, allocByBackend } = SharedBuffer
      for (const [operation, call] of Object.entries({ alloc, allocByBackend })) {
        const error = yield* refusal(call({ peer: 1, byteLength }))
        assert.deepInclude<object>(error, { _tag: "GrantTableError", operation })
        assert.strictEqual(error.reason._tag, tag)
        assert.include(error.message, text)
      }
      const { allocForFrontend, map, walk } = PeerBuffer
      for (const [operation, call] of Object.entries({ allocForFrontend, map, walk })) {
        const error = yield* refusal(call({ peer: 40_000, directory: 8, byteLength: 1 }))
        assert.deepInclude<object>(error, { _tag: "GrantTableError", operation })
      }
    }))
})

// References that no directory could list, of its own grant table: a bug, never a buffer.
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
        share: ({ pages }) =>
          Effect.succeed({
            refs: Uint32Array.from(refs),
            bytes: new Uint8Array(pages * 4096),
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
