// In dom0: node examples/screen.ts shows the screens of all guests on http://127.0.0.1:8380/, with their sound, until Ctrl-C.
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Guests from "@xen-shbuf/screen/Guests"
import * as Screens from "@xen-shbuf/screen/Screens"
import * as Server from "@xen-shbuf/screen/Server"
import * as Sounds from "@xen-shbuf/screen/Sounds"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as HttpServer from "effect/http/HttpServer"
import * as Layer from "effect/Layer"

export const show = Effect.fnUntraced(function*() {
  const { address } = yield* HttpServer.HttpServer
  yield* Console.log(`open http://127.0.0.1:${"port" in address ? address.port : ""}/`)
  return yield* Guests.serve({ frameRate: 30 })
})

/** The page at a port, and what there is to see and to hear on it. */
export const layer = (port: number) =>
  Layer.provideMerge(Server.layer({ port }), Layer.merge(Screens.layer(), Sounds.layer()))

if (import.meta.main) {
  NodeRuntime.runMain(Effect.provide(show(), Layer.merge(layer(8380), XenDevices.layer())))
}
