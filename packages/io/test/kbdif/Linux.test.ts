import { assert, describe, it } from "@effect/vitest"
import * as EventChannels from "@xen-shbuf/core/EventChannels"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import * as XenStore from "@xen-shbuf/core/XenStore"
import * as Backend from "@xen-shbuf/io/kbdif/Backend"
import * as Ledger from "@xen-shbuf/testkit/Ledger"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"

const inDomain = (id: number) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, TestXen.layerDomain(id))

describe("kbdif, as xl and Linux go about it", () => {
  it.live("a frontend that does not wait for its backend is connected all the same", () =>
    Ledger.checked(Effect.gen(function*() {
      const front = "/local/domain/3/device/vkbd/0"
      const back = "/local/domain/0/backend/vinput/3/0"
      yield* inDomain(3)(Effect.void)
      yield* inDomain(0)(Effect.gen(function*() {
        const store = yield* XenStore.XenStore
        const frontendNodes = { backend: back, "backend-id": "0", state: "1", handle: "0" }
        const backendNodes = { frontend: front, "frontend-id": "3", online: "1", state: "1" }
        for (const [name, value] of Object.entries(backendNodes)) yield* store.write(`${back}/${name}`, value)
        yield* store.setPermissions(back, { owner: 0, others: "none", domains: [{ domain: 3, access: "read" }] })
        for (const [name, value] of Object.entries(frontendNodes)) yield* store.write(`${front}/${name}`, value)
        for (const path of [front, ...Object.keys(frontendNodes).map((name) => `${front}/${name}`)]) {
          yield* store.setPermissions(path, { owner: 3, others: "none", domains: [{ domain: 0, access: "read" }] })
        }
      }))
      const keyboards = yield* Queue.unbounded<Backend.Keyboard>()
      const linux = Effect.gen(function*() {
        const store = yield* XenStore.XenStore
        const table = yield* GrantTable
        const channels = yield* EventChannels.EventChannels
        const page = yield* table.share({ peer: 0, pages: 1 })
        const channel = yield* channels.listen({ peer: 0 })
        yield* store.write(`${front}/request-abs-pointer`, "1")
        yield* store.transaction((nodes) => Effect.gen(function*() {
          yield* nodes.write(`${front}/page-ref`, "755123")
          yield* nodes.write(`${front}/page-gref`, String(page.refs[0]))
          yield* nodes.write(`${front}/event-channel`, String(channel.port))
        }))
        yield* store.write(`${front}/state`, "3")
      })
      yield* Effect.scoped(Effect.gen(function*() {
        yield* inDomain(3)(linux)
        yield* Effect.forkScoped(inDomain(0)(Backend.serve({ use: (keyboard) => Queue.offer(keyboards, keyboard) })))
        const keyboard = yield* Queue.take(keyboards).pipe(Effect.timeout("3 seconds"))
        assert.strictEqual(keyboard.guest, 3)
      }))
    })).pipe(Effect.provide(TestXen.layer())))
})
