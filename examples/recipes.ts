/** Buffers with the tools that Effect has for any resource; docs/recipes.md tells about each. */
import { DirectoryError } from "@xen-shbuf/core/DirectoryError"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import { GrantTableError } from "@xen-shbuf/core/GrantTableError"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Pool from "effect/Pool"
import * as RcMap from "effect/RcMap"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"

export const optional = (peer: number, byteLength: number) =>
  SharedBuffer.alloc({ peer, byteLength }).pipe(
    Effect.asSome,
    Effect.catchReason("GrantTableError", "OutOfGrants", () => Effect.succeedNone)
  )

export const frames = (peer: number) =>
  Pool.make({ acquire: SharedBuffer.alloc({ peer, byteLength: 640 * 480 * 4 }), size: 3 })

export const mapped = (peer: number, byteLength: number) =>
  RcMap.make({
    lookup: (directory: number) => PeerBuffer.map({ peer, directory, byteLength, access: "read-only" }),
    idleTimeToLive: "10 seconds"
  })

export const patient = (peer: number, byteLength: number) =>
  SharedBuffer.alloc({ peer, byteLength }).pipe(
    Effect.retry({
      while: ({ reason }) => reason._tag === "OutOfGrants",
      schedule: Schedule.spaced("1 second"),
      times: 5
    })
  )

export class Frame extends Context.Service<Frame, SharedBuffer.SharedBuffer>()("example/Frame") {
  static readonly layer = (peer: number) =>
    Layer.effect(Frame, SharedBuffer.alloc({ peer, byteLength: 640 * 480 * 4 }))
}

export const Failure = Schema.toCodecJson(Schema.Union([GrantTableError, DirectoryError]))

export const runtime = (grantTable: Layer.Layer<GrantTable>) =>
  ManagedRuntime.make(Layer.provide(Frame.layer(0), grantTable))
