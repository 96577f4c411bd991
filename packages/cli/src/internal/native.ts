/**
 * The command on the devices of the domain that it runs in.
 *
 * @internal
 */

import * as NodeServices from "@effect/platform-node/NodeServices"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Cli from "../Cli.ts"
import * as Main from "../Main.ts"

export const run = () =>
  Main.run(
    Cli.run(process.argv.slice(2)).pipe(Effect.provide(Layer.merge(XenDevices.layer(), NodeServices.layer)))
  )
