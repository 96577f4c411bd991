// The backend: node examples/backend.ts 5 812 reads the frame of domain 5 whose directory is 812.
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as PeerBuffer from "@xen-shbuf/core/PeerBuffer"
import * as GntDev from "@xen-shbuf/xen-gntdev/GntDev"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"

export const backend = Effect.fnUntraced(function*(peer: number, directory: number) {
  const frame = yield* PeerBuffer.map({ peer, directory, byteLength: 640 * 480 * 4, access: "read-only" })
  const pixels = frame.bytes.slice() // A copy of our own: the peer may change the frame at any time.
  yield* Console.log(`${pixels.length} bytes, the first is ${pixels[0]}`)
  return pixels
}, Effect.scoped)

if (import.meta.main) {
  const [peer, directory] = process.argv.slice(2).map(Number)
  NodeRuntime.runMain(Effect.provide(backend(peer!, directory!), GntDev.layer()))
}
