/**
 * `xen-shbuf device`: creates, removes and lists devices, for protocols that `xl` does not know.
 *
 * @since 0.2.0
 */

import * as Toolstack from "@xen-shbuf/xenbus/Toolstack"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Flags from "../Flags.ts"
import { count, Output } from "../Output.ts"

const typeFlag = Flag.String("type").pipe(
  Flag.withMetavar("name"),
  Flag.mapEffect((value) =>
    /^[A-Za-z0-9_-]{1,64}$/.test(value)
      ? Effect.succeed(value)
      : Effect.fail(new CliError.InvalidValue({ option: "type", value, expected: "a name such as vdispl", kind: "flag" }))
  )
)

const type = typeFlag.pipe(Flag.withDescription("The kind of device, such as vdispl; required"))

const id = Flags.device.pipe(
  Flag.withDefault(0),
  Flag.withDescription("Which device of this type and frontend; 0 unless given")
)

const address = { type, frontend: Flags.frontend, backend: Flags.backend, id }

const settings = (half: "frontend" | "backend") =>
  Flag.KeyValuePair(half === "frontend" ? "set" : "set-backend").pipe(
    Flag.withMetavar("node=value"),
    Flag.withDefault({}),
    Flag.withDescription(`A setting for the ${half}, such as 0/resolution=800x600; may be given several times`)
  )

const named = ({ frontend, id, type }: { readonly type: string; readonly frontend: number; readonly id: number }) =>
  `device ${id} of type ${type} of domain ${frontend}`

const add = Command.make("add", { ...address, set: settings("frontend"), setBackend: settings("backend") }, Effect.fnUntraced(
  function*({ backend, set, setBackend, ...device }) {
    const { event } = yield* Output
    yield* Toolstack.addDevice({
      ...device,
      backend: Option.getOrUndefined(backend),
      frontendNodes: set,
      backendNodes: setBackend
    })
    yield* event({ event: "added", ...device }, `Made ${named(device)}.`)
  }
)).pipe(
  Command.withDescription(
    "Make a device: the nodes of both halves in xenstore, with the owners and permissions that xl gives them. For dom0."
  ),
  Command.withShortDescription("Make a device")
)

const remove = Command.make("remove", {
  ...address,
  within: Flags.seconds("within").pipe(
    Flag.withDefault(10),
    Flag.withDescription("Seconds to wait for the backend to close it; 10 unless given")
  )
}, Effect.fnUntraced(function*({ backend, within, ...device }) {
  const { event } = yield* Output
  const isClosed = yield* Toolstack.removeDevice({
    ...device,
    backend: Option.getOrUndefined(backend),
    within: within * 1000
  })
  yield* event(
    { event: "removed", ...device, closed: isClosed },
    `Removed ${named(device)}${isClosed ? "" : `; its backend had not closed it after ${count(within, "second")}`}.`
  )
})).pipe(
  Command.withDescription(
    "Remove a device: tell its backend to close it, wait until it has, and remove the nodes of both halves. For dom0."
  ),
  Command.withShortDescription("Remove a device")
)

const list = Command.make("list", {
  type: typeFlag.pipe(Flag.optional, Flag.withDescription("The kind of device; all unless given")),
  backend: Flags.backend
}, Effect.fnUntraced(function*({ backend, type }) {
  const { event, hint } = yield* Output
  const devices = yield* Toolstack.listDevices({
    backend: Option.getOrUndefined(backend),
    type: Option.getOrUndefined(type)
  })
  if (devices.length === 0) yield* hint("There are no devices.")
  yield* Effect.forEach(devices, (device) =>
    event(
      { event: "device", ...device },
      `${named(device)}: frontend ${device.frontendState ?? "without a state"}, ` +
        `backend (domain ${device.backend}) ${device.backendState ?? "without a state"}`
    ), { discard: true })
})).pipe(
  Command.withDescription("Print the devices whose backend is this domain, or another one, with the states of both halves."),
  Command.withShortDescription("Print the devices of a backend")
)

/**
 * Creates, removes and lists devices.
 *
 * @category commands
 * @since 0.2.0
 */
export const device = Command.make("device").pipe(
  Command.withDescription("Make, remove and list devices in xenstore, for protocols that xl does not know."),
  Command.withShortDescription("Make, remove and list devices"),
  Command.withSubcommands([add, remove, list])
)
