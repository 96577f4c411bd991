import { assert, describe, it } from "@effect/vitest"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Pool from "effect/Pool"
import * as RcMap from "effect/RcMap"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { globSync, readFileSync } from "node:fs"
import * as Recipes from "./recipes.ts"

const text = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")

/** What begins with `|` and a reason in code, below a heading. */
const listed = (page: string, heading: string) => {
  const section = page.split("\n## ").find((part) => part.startsWith(`${heading}\n`)) ?? ""
  return [...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, reason]) => reason)
}

/** The errors that a module of the library declares: its reasons, and last what has them. */
const declared = (path: string) =>
  [...text(`../packages/${path}`).matchAll(/^export class (\w+) extends Schema\.TaggedError/gm)].map(([, tag]) => tag!)

const modules = globSync("{core,xenbus,io,screen}/src/**/*.ts", { cwd: new URL("../packages", import.meta.url) })

const frontend = TestXen.layerDomain(5)
const backend = TestXen.layerDomain(0)

const onXen = <A, E>(test: Effect.Effect<A, E, TestXen.TestXen>, sharedPages = 1024) =>
  test.pipe(Ledger.checked, Effect.provide(TestXen.layer({ sharedPages })))

describe("docs/errors.md", () => {
  it("lists every reason that there is, and no other", () => {
    const page = text("../docs/errors.md")
    const shared = "core/src/Reason.ts"
    const errors = modules.filter((path) => path !== shared).map(declared).filter((tags) => tags.length > 0)
    assert.isAbove(errors.length, 10)
    for (const tags of errors) {
      const [error, ...reasons] = tags.toReversed()
      assert.match(page, new RegExp(`^## .*\\b${error}\\b`, "m"))
      // What several services say is in the table of the first.
      if (error === "GrantTableError") reasons.push(...declared(shared))
      assert.sameMembers(listed(page, error!), reasons, error)
    }
  })
})

describe("Recipes", () => {
  it("stand in the docs as they are here", () => {
    const source = text("recipes.ts")
    const snippets = ["../docs/errors.md", "../docs/recipes.md"].flatMap((page) =>
      [...text(page).matchAll(/```ts\n(.*?)```/gs)].map(([, snippet]) => snippet!)
    )
    assert.lengthOf(snippets, 7)
    for (const snippet of snippets) assert.include(source, snippet)
  })

  it.effect("optional: no room is an answer", () =>
    onXen(Effect.gen(function*() {
      assert.isTrue(Option.isSome(yield* Recipes.optional(0, 4096)))
      assert.isTrue(Option.isNone(yield* Recipes.optional(0, 64 * 4096)))
      const { reason } = yield* Effect.flip(Recipes.optional(0, 0))
      assert.strictEqual(reason._tag, "InvalidInput")
    }).pipe(Effect.scoped, Effect.provide(frontend)), 32))

  it.effect("frames: a pool lends its buffers again", () =>
    onXen(Effect.gen(function*() {
      const pool = yield* Recipes.frames(0)
      const three = Effect.all([Pool.get(pool), Pool.get(pool), Pool.get(pool)])
      const first = yield* Effect.scoped(three)
      const second = yield* Effect.scoped(three)
      const directories = (buffers: typeof first) => buffers.map(({ directory }) => directory).sort((a, b) => a - b)
      assert.strictEqual(new Set(directories(first)).size, 3)
      assert.deepStrictEqual(directories(second), directories(first))
    }).pipe(Effect.scoped, Effect.provide(frontend))))

  it.effect("mapped: who maps one buffer shares the mapping, and it ends a while after the last", () =>
    onXen(Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const { directory } = yield* SharedBuffer.alloc({ peer: 0, byteLength: 8192 }).pipe(Effect.provide(frontend))
      const map = yield* Recipes.mapped(5, 8192).pipe(Effect.provide(backend))
      const mappings = Effect.map(xen.holdings, (all) => all.filter(({ _tag }) => _tag === "Mapping").length)
      yield* Effect.scoped(Effect.gen(function*() {
        const one = yield* RcMap.get(map, directory)
        assert.strictEqual(one, yield* RcMap.get(map, directory))
      }))
      assert.strictEqual(yield* mappings, 1)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* mappings, 0)
    }).pipe(Effect.scoped)))

  it.effect("patient: tries again while there is no room, and for no other reason", () =>
    onXen(Effect.gen(function*() {
      const waiting = yield* Effect.scoped(Effect.gen(function*() {
        yield* SharedBuffer.alloc({ peer: 0, byteLength: 20 * 4096 })
        const fiber = yield* Effect.forkDetach(Effect.scoped(Recipes.patient(0, 20 * 4096)), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        assert.isUndefined(fiber.pollUnsafe())
        return fiber
      }))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(waiting)).pages, 20)
      const { reason } = yield* Effect.flip(Effect.scoped(Recipes.patient(0, 0)))
      assert.strictEqual(reason._tag, "InvalidInput")
    }).pipe(Effect.provide(frontend)), 32))

  it.effect("Frame: a layer's buffer ends with the layer", () =>
    onXen(Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const used = Effect.gen(function*() {
        const { bytes } = yield* Recipes.Frame
        return [bytes.length, (yield* xen.holdings).length]
      })
      assert.deepStrictEqual(yield* Effect.provide(used, Recipes.Frame.layer(0)), [640 * 480 * 4, 1])
      assert.isEmpty(yield* xen.holdings)
    }).pipe(Effect.provide(frontend))))

  it.effect("Failure: errors come out of JSON as they went in", () =>
    onXen(Effect.gen(function*() {
      const failed = [
        yield* Effect.flip(SharedBuffer.alloc({ peer: 0, byteLength: 64 * 4096 })),
        yield* Effect.flip(PeerBuffer.map({ peer: 0, directory: 3, byteLength: 4096 }))
      ]
      for (const error of failed) {
        const json = JSON.stringify(yield* Schema.encodeEffect(Recipes.Failure)(error))
        const back = yield* Schema.decodeUnknownEffect(Recipes.Failure)(JSON.parse(json))
        assert.strictEqual(back.message, error.message)
        assert.deepStrictEqual(back, error)
      }
    }).pipe(Effect.scoped, Effect.provide(frontend)), 32))

  it.effect("runtime: disposing of it releases the buffer", () =>
    onXen(Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const runtime = Recipes.runtime(Layer.effect(GrantTable, xen.domain(5)))
      const length = yield* Effect.promise(() => runtime.runPromise(Recipes.Frame.useSync(({ bytes }) => bytes.length)))
      assert.strictEqual(length, 640 * 480 * 4)
      yield* runtime.disposeEffect
      assert.isEmpty(yield* xen.holdings)
    })))
})
