import { assert, describe, it } from "@effect/vitest"
import * as Configuration from "@xen-shbuf/io/sndif/Configuration"
import * as Frontend from "@xen-shbuf/io/sndif/Frontend"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Backend from "@xen-shbuf/xenbus/Backend"
import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { json, run, start } from "./fixtures/run.ts"

const inXen = (name: string, test: () => Effect.Effect<void, unknown, TestXen.TestXen | Scope.Scope>) =>
  it.live(name, () => Effect.scoped(test()).pipe(Effect.provide(TestXen.layer())))

const guest = Effect.flatMap(TestXen.TestXen, (xen) => xen.store(3))
const dice = ["--type", "dice", "--frontend", "3"]

describe("device", () => {
  inXen("makes, lists and removes devices, whose nodes are as xl's", () =>
    Effect.gen(function*() {
      const store = yield* guest
      assert.deepStrictEqual((yield* run(0, "device", "list")).stdout, ["There are no devices."])
      const made = yield* run(0, "device", "add", ...dice, "--set", "sides=6", "--set-backend", "mode=fair")
      assert.deepStrictEqual(made.stdout, ["Made device 0 of type dice of domain 3."])
      assert.strictEqual(yield* store.readText("device/dice/0/sides"), "6")
      assert.strictEqual(yield* store.readText("/local/domain/0/backend/dice/3/0/mode"), "fair")
      yield* store.write("device/dice/0/state", "3")
      assert.strictEqual((yield* Effect.flip(store.write("device/dice/0/sides", "7"))).reason._tag, "AccessDenied")
      assert.strictEqual((yield* Effect.flip(store.write("/local/domain/0/backend/dice/3/0/state", "4"))).reason._tag, "AccessDenied")
      const owned = (owner: number, domain: number) => ({ owner, others: "none", domains: [{ domain, access: "read" }] })
      assert.deepEqual<object>(yield* store.permissions("device/dice/0"), owned(3, 0))
      assert.deepEqual<object>(yield* store.permissions("/local/domain/0/backend/dice/3/0"), owned(0, 3))
      assert.deepStrictEqual((yield* run(0, "device", "list", "--type", "dice")).stdout, [
        "device 0 of type dice of domain 3: frontend Initialised, backend (domain 0) Initialising"
      ])
      const [again] = yield* json(0, "device", "add", ...dice)
      assert.deepInclude(again, { event: "error", tag: "ConnectionError", reason: "DeviceExists" })
      assert.deepStrictEqual((yield* run(0, "device", "remove", ...dice, "--within", "0")).stdout, [
        "Removed device 0 of type dice of domain 3; its backend had not closed it after 0 seconds."
      ])
      const [gone] = yield* json(0, "device", "remove", ...dice)
      assert.deepInclude(gone, { event: "error", reason: "NoDevice" })
    }))

  inXen("waits for a backend that closes it", () =>
    Effect.gen(function*() {
      yield* guest
      yield* Effect.forkScoped(Backend.serve({ type: "dice", handler: () => Effect.never }).pipe(
        Effect.provide(TestXen.layerDomain(0))
      ))
      yield* run(0, "device", "add", ...dice, "--id", "2")
      assert.deepStrictEqual(yield* json(0, "device", "remove", ...dice, "--id", "2"), [
        { event: "removed", type: "dice", frontend: 3, id: 2, closed: true }
      ])
    }))

  inXen("refuses what makes no sense", () =>
    Effect.gen(function*() {
      for (const args of [["--type", "a/b", "--frontend", "3"], ["--type", "dice", "--frontend", "x"], ["--type", "dice"]]) {
        const [line] = yield* json(0, "device", "add", ...args)
        assert.deepInclude(line, { event: "error", tag: "CliError" }, args.join(" "))
      }
      const [line] = yield* json(0, "device", "add", "--type", "dice", "--frontend", "77")
      assert.deepInclude(line, { event: "error", reason: "NoSuchDomain" })
    }))
})

describe("store", () => {
  inXen("prints a tree, whatever a peer has written into it", () =>
    Effect.gen(function*() {
      const store = yield* guest
      yield* store.write("data/word", "\u001b[31mred\u009b\u202e")
      yield* store.write("data/bytes", Uint8Array.of(0xff, 0))
      yield* store.write("data/deep/er", "")
      assert.deepStrictEqual((yield* run(3, "store", "ls", "data")).stdout, [
        "bytes = the bytes ff00",
        "deep = \"\"",
        "  er = \"\"",
        "word = \"\\u001b[31mred\\u009b\\u202e\""
      ])
      assert.deepStrictEqual(yield* json(0, "store", "read", "/local/domain/3/data/bytes"), [
        { event: "node", path: "/local/domain/3/data/bytes", bytes: "ff00" }
      ])
      const [missing] = yield* json(3, "store", "read", "data/no")
      assert.deepInclude(missing, { event: "error", tag: "XenStoreError", reason: "NotFound" })
      const [wrong] = yield* json(3, "store", "ls", "/a//b")
      assert.deepInclude(wrong, { event: "error", tag: "CliError" })
    }))

  inXen("prints what changes until it is interrupted", () =>
    Effect.gen(function*() {
      const store = yield* guest
      const watch = yield* start(0, "store", "watch", "/local/domain/3/data", "--json")
      const path = "/local/domain/3/data"
      assert.deepInclude(yield* watch.next, { event: "changed", path })
      yield* store.write("data/word", "one")
      assert.deepStrictEqual(yield* watch.next, { event: "changed", path: `${path}/word`, value: "one" })
      yield* store.remove("data/word")
      assert.deepStrictEqual(yield* watch.next, { event: "changed", path: `${path}/word`, value: null })
      yield* watch.interrupt
    }))

  inXen("prints that a domain has come or gone, which is no node", () =>
    Effect.gen(function*() {
      const watch = yield* start(0, "store", "watch", "@introduceDomain", "--json")
      assert.deepStrictEqual(yield* watch.next, { event: "changed", path: "@introduceDomain" })
      yield* guest
      assert.deepStrictEqual(yield* watch.next, { event: "changed", path: "@introduceDomain" })
      yield* watch.interrupt
      const text = yield* start(0, "store", "watch", "@releaseDomain")
      assert.strictEqual(yield* text.nextLine, "@releaseDomain")
      yield* text.interrupt
      for (const command of ["read", "ls"]) {
        const [wrong] = yield* json(0, "store", command, "@releaseDomain")
        assert.deepInclude(wrong, { event: "error", tag: "CliError" })
      }
    }))
})

describe("what is logged", () => {
  const path = "/local/domain/3/device/vsnd/0"
  const addCard = Effect.andThen(guest, Effect.provide(
    Toolstack.addDevice({
      type: "vsnd",
      frontend: 3,
      frontendNodes: Configuration.toNodes({ devices: [{ streams: [{ type: "playback", uniqueId: "p" }] }] })
    }),
    TestXen.layerDomain(0)
  ))
  /** A guest whose card can't be joined. */
  const publishes = Effect.gen(function*() {
    const store = yield* (yield* TestXen.TestXen).store(0)
    yield* Stream.runHead(Stream.filterEffect(store.watch("/local/domain/0/backend/vsnd/3/0/state"), () =>
      Effect.map(store.readText("/local/domain/0/backend/vsnd/3/0/state"), (state) => state === "2")))
    yield* store.write(`${path}/0/0/ring-ref`, "\u001b[31m\u009bno")
    yield* store.write(`${path}/state`, "3")
  })

  inXen("is on standard error, for what is on standard output is asked for", () =>
    Effect.gen(function*() {
      yield* addCard
      const sound = yield* start(0, "sound", "--stdout")
      yield* publishes
      assert.include(yield* sound.nextErrorLine, "Serving")
      const line = yield* sound.nextErrorLine
      assert.include(line, "level=ERROR")
      assert.include(line, "The handler failed: the device is closed.")
      assert.include(line, path)
      assert.isFalse(/[\p{Cc}]/u.test(line))
      assert.lengthOf(yield* sound.received, 0)
      yield* sound.interrupt
      assert.deepStrictEqual(sound.printed, [])
    }))

  inXen("is JSON for programs", () =>
    Effect.gen(function*() {
      yield* addCard
      const sound = yield* start(0, "sound", "--json")
      yield* publishes
      const line = yield* sound.nextError
      assert.deepInclude(line, { event: "log", level: "ERROR", message: "The handler failed: the device is closed." })
      yield* sound.interrupt
      assert.deepStrictEqual(sound.printed, ['{"event":"serving"}'])
    }))
})

describe("what a peer calls itself", () => {
  inXen("gives no orders to the terminal", () =>
    Effect.gen(function*() {
      yield* guest
      yield* Effect.provide(
        Toolstack.addDevice({
          type: "vsnd",
          frontend: 3,
          frontendNodes: {
            ...Configuration.toNodes({ devices: [{ streams: [{ type: "playback", uniqueId: "p" }] }] }),
            "short-name": "\u001b[2J\u009b\u202ebad"
          }
        }),
        TestXen.layerDomain(0)
      )
      const sound = yield* start(0, "sound")
      yield* Effect.scoped(Effect.provide(Frontend.connect(), TestXen.layerDomain(3)))
      yield* sound.nextLine
      const connected = yield* sound.nextLine
      assert.include(connected, "card 0 (\ufffd[2J\ufffd\\u202ebad)\n   0/0 playback")
      yield* sound.interrupt
    }))
})
