#!/usr/bin/env node
/**
 * The command `xen-shbuf` in the domain that it runs in.
 *
 * @since 0.1.0
 */

import * as NodeServices from "@effect/platform-node/NodeServices"
import * as XenDevices from "@xen-shbuf/xen-devices/XenDevices"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Cli from "./Cli.ts"
import * as Main from "./Main.ts"

Main.run(
  Cli.run(process.argv.slice(2)).pipe(Effect.provide(Layer.merge(XenDevices.layer(), NodeServices.layer)))
)
