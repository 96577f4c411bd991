import { assert, describe, it } from "@effect/vitest"
import * as EventChannels from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as SharedMemory from "@xen-shbuf/core/SharedMemory"
import * as XenStore from "@xen-shbuf/core/XenStore"
import * as Backend from "@xen-shbuf/io/kbdif/Backend"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"

const inDomain = (id: number) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, TestXen.layerDomain(id))

const front = "/local/domain/3/device/vkbd/0"
const back = "/local/domain/0/backend/vinput/3/0"

/** As xl makes the device. */
const toolstack = Effect.andThen(
  inDomain(3)(Effect.void),
  inDomain(0)(Effect.gen(function*() {
    const store = yield* XenStore.XenStore
    const frontendNodes = { backend: back, "backend-id": "0", state: "1", handle: "0" }
    const backendNodes = { frontend: front, "frontend-id": "3", online: "1", state: "1" }
    yield* store.makeDirectory(back)
    yield* store.setPermissions(back, { owner: 0, others: "none", domains: [{ domain: 3, access: "read" }] })
    for (const [name, value] of Object.entries(backendNodes)) yield* store.write(`${back}/${name}`, value)
    for (const [name, value] of Object.entries(frontendNodes)) yield* store.write(`${front}/${name}`, value)
    for (const path of [front, ...Object.keys(frontendNodes).map((name) => `${front}/${name}`)]) {
      yield* store.setPermissions(path, { owner: 3, others: "none", domains: [{ domain: 0, access: "read" }] })
    }
  }))
)

/** Shares the page and tells where it is, as xenkbd_connect_backend does. */
const publish = Effect.gen(function*() {
  const store = yield* XenStore.XenStore
  const page = yield* (yield* GrantTable).share({ peer: 0, pages: 1 })
  const channel = yield* (yield* EventChannels.EventChannels).listen({ peer: 0 })
  yield* store.transaction((nodes) =>
    Effect.gen(function*() {
      yield* nodes.write(`${front}/page-ref`, "755123")
      yield* nodes.write(`${front}/page-gref`, String(page.refs[0]))
      yield* nodes.write(`${front}/event-channel`, String(channel.port))
    }))
  return { page, channel }
})

/** Waits for a state of the backend's. */
const until = (state: string) =>
  inDomain(0)(Effect.flatMap(XenStore.XenStore, (store) =>
    store.watch(`${back}/state`).pipe(
      Stream.mapEffect(() => store.readText(`${back}/state`)),
      Stream.takeUntil((seen) => seen === state),
      Stream.runDrain,
      Effect.timeout("5 seconds")
    )))

/** Takes events as the driver's interrupt handler does, and says how often it has gone around. */
const handle = (page: SharedMemory.Writable) => {
  const words = SharedMemory.viewAs(page.subarray(0, 8), Uint32Array)
  const turns = (words[1]! - words[0]!) >>> 0
  words[0] = words[1]!
  return turns
}

describe("kbdif, as xl and Linux go about it", () => {
  // It keeps its page and its port when a backend closes, and says Connected again to the next one.
  it.live("a backend that is another process goes on where the one before left off", () =>
    Ledger.checked(Effect.gen(function*() {
      yield* toolstack
      const store = yield* inDomain(3)(XenStore.XenStore)
      const { page } = yield* inDomain(3)(publish)
      const say = (state: string) => store.write(`${front}/state`, state)
      let said = "3"
      const answer = (state: string) =>
        state === said ? Effect.void : Effect.andThen(Effect.sync(() => void (said = state)), say(state))
      yield* say("3")
      const answers: Record<string, string> = { 2: "4", 4: "4", 5: "6", 6: "6" }
      yield* store.watch(`${back}/state`).pipe(
        Stream.mapEffect(() => store.readText(`${back}/state`)),
        Stream.runForEach((state) => state in answers ? answer(answers[state]!) : Effect.void),
        Effect.forkScoped
      )
      const keyboards = yield* Queue.unbounded<Backend.Keyboard>()
      let left = 0
      for (const untaken of [0, 3, 0]) {
        yield* Effect.scoped(Effect.gen(function*() {
          yield* Effect.forkScoped(inDomain(0)(Backend.serve({
            use: (keyboard) => Effect.andThen(Queue.offer(keyboards, keyboard), Effect.never)
          })))
          const keyboard = yield* Queue.take(keyboards).pipe(Effect.timeout("3 seconds"))
          const type = (keys: number) =>
            Effect.forEach(Array.from({ length: keys }), () => keyboard.send({ _tag: "Key", pressed: true, code: 30 }))
          yield* type(5)
          assert.strictEqual(handle(page.bytes), left + 5)
          yield* type(left = untaken)
        }))
      }
      assert.strictEqual(handle(page.bytes), 0)
    })).pipe(Effect.provide(TestXen.layer())), 30_000)

  // Two threads of the kernel's write the state: what publishes says Initialised at its end, and what hears of the backend
  // says Connected as soon as that waits, or is connected.
  for (const order of ["3 4", "4 3 4", "4 4"] as const) {
    it.live(`a frontend whose states are ${order} is connected, once`, () =>
      Ledger.checked(Effect.gen(function*() {
        yield* toolstack
        const keyboards = yield* Queue.unbounded<Backend.Keyboard>()
        yield* Effect.scoped(Effect.gen(function*() {
          yield* Effect.forkScoped(inDomain(0)(Backend.serve({ use: (keyboard) => Queue.offer(keyboards, keyboard) })))
          yield* until("2")
          yield* inDomain(3)(Effect.gen(function*() {
            const store = yield* XenStore.XenStore
            const say = (state: string) => Effect.andThen(store.write(`${front}/state`, state), Effect.sleep(50))
            if (order !== "3 4") yield* say("4")
            yield* publish
            if (order !== "4 4") yield* say("3")
            yield* say("4")
          }))
          const keyboard = yield* Queue.take(keyboards).pipe(Effect.timeout("3 seconds"))
          assert.strictEqual(keyboard.guest, 3)
          yield* Effect.sleep(100)
          yield* until("4")
          assert.isTrue(yield* keyboard.send({ _tag: "Key", pressed: true, code: 30 }))
          assert.strictEqual(yield* Queue.size(keyboards), 0)
          // Else the backend would wait for it at the end.
          yield* inDomain(3)(Effect.flatMap(XenStore.XenStore, (store) => store.write(`${front}/state`, "6")))
        }))
      })).pipe(Effect.provide(TestXen.layer())), 30_000)
  }
})
