// The frontend: node examples/frontend.ts 0 shares a frame with domain 0 until Ctrl-C.
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as SharedBuffer from "@xen-shbuf/core/SharedBuffer"
import * as GntDev from "@xen-shbuf/xen-gntdev/GntDev"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"

export const frontend = Effect.fnUntraced(function*(peer: number, colour: number) {
  const frame = yield* SharedBuffer.alloc({ peer, byteLength: 640 * 480 * 4 })
  frame.bytes.fill(colour)
  yield* Console.log(`tell domain ${peer}: the directory is ${frame.directory}`)
  return frame // It ends with the scope around this effect, as soon as the backend has let go.
})

if (import.meta.main) {
  const shared = Effect.scoped(Effect.andThen(frontend(Number(process.argv[2]), 0x80), Effect.never))
  NodeRuntime.runMain(Effect.provide(shared, GntDev.layer()))
}
