import { assert, describe, it } from "@effect/vitest"
import * as DomainId from "@xen-shbuf/core/DomainId"
import { GrantTable } from "@xen-shbuf/core/GrantTable"
import { GrantRefused } from "@xen-shbuf/core/GrantTableError"
import * as GrantRef from "@xen-shbuf/core/GrantRef"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import { DeviceFailed } from "@xen-shbuf/core/Reason"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Faults from "@xen-shbuf/testkit/Faults"
import * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"

const failed = new DeviceFailed({ device: "/dev/xen/gntdev", call: "mmap", errno: "ENOMEM" })

describe("PeerBuffer.walk", () => {
  it.effect("tells a refused grant as what is wrong with the directory, and fails as anything else does", () =>
    Effect.gen(function*() {
      const xen = yield* TestXen.TestXen
      const frontend = yield* xen.domain(5)
      const { directory } = yield* Effect.provideService(
        SharedBuffer.alloc({ peer: 0, byteLength: 4096 }),
        GrantTable,
        frontend
      )
      const refused = new GrantRefused({
        grant: { peer: DomainId.DomainId.make(5), ref: GrantRef.GrantRef.make(directory) },
        index: 0,
        access: "read-only"
      })
      const table = yield* xen.domain(0)
      const walk = (plan: Faults.Plan) =>
        Effect.provideService(
          PeerBuffer.walk({ peer: 5, directory, byteLength: 4096 }),
          GrantTable,
          Faults.make(table, plan).table
        )
      // The reading of the one directory page, and the trial of what it lists.
      for (const at of [1, 2]) {
        const error = yield* Effect.flip(walk([Faults.failAt(at, failed)]))
        assert.strictEqual(error.reason, failed)
        const { problem } = yield* walk([Faults.failAt(at, refused)])
        assert.strictEqual(problem?.reason, refused)
      }
      assert.isUndefined((yield* walk([])).problem)
    }).pipe(Effect.scoped, Effect.provide(TestXen.layer())))
})
