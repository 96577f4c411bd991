/**
 * `xen-shbuf store`: looks at xenstore.
 *
 * @since 0.2.0
 */

import { expected, StorePath } from "@xen-shbuf/core/StorePath"
import * as XenStore from "@xen-shbuf/core/XenStore"
import type { XenStoreError } from "@xen-shbuf/core/XenStoreError"
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Output } from "../Output.ts"

const isPath = Schema.is(StorePath)

const path = Argument.String("path").pipe(
  Argument.mapEffect((value) =>
    isPath(value)
      ? Effect.succeed(value)
      : Effect.fail(new CliError.InvalidValue({ option: "path", value, expected, kind: "argument" }))
  ),
  Argument.withDescription("A path; one without / at its beginning is below this domain's own, /local/domain/<id>")
)

/** Of a node: domains that come and go have a name to watch, and nothing to read. */
const node = path.pipe(
  Argument.mapEffect((value) =>
    value.startsWith("@")
      ? Effect.fail(new CliError.InvalidValue({ option: "path", value, expected: "the path of a node", kind: "argument" }))
      : Effect.succeed(value)
  )
)

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** A value as text where it is that, and as hexadecimal bytes where not. */
const shown = (bytes: Uint8Array): { readonly text: string; readonly json: Readonly<Record<string, string>> } => {
  try {
    const value = utf8.decode(bytes)
    return { text: JSON.stringify(value), json: { value } }
  } catch {
    const hex = Buffer.from(bytes).toString("hex")
    return { text: `the bytes ${hex}`, json: { bytes: hex } }
  }
}

const missing = { text: "(not there)", json: { value: null } } as const

/** A node's value; nothing of one that went while we looked, or that this domain may not read. */
const look = (store: XenStore.XenStore["Service"], path: string) =>
  XenStore.ifPresent(store.read(path)).pipe(
    Effect.map(Option.match({ onNone: () => missing, onSome: shown })),
    Effect.catchIf(({ reason }) => reason._tag === "AccessDenied", () =>
      Effect.succeed({ text: "(may not be read)", json: { denied: true } }))
  )

/** Prints what is below a node, each level further in. */
const tree = (
  store: XenStore.XenStore["Service"],
  path: string,
  depth: number
): Effect.Effect<void, XenStoreError, Output> =>
  Effect.gen(function*() {
    const { event } = yield* Output
    const names = depth === 0
      ? yield* store.directory(path)
      : yield* XenStore.ifPresent(store.directory(path)).pipe(
        Effect.map(Option.getOrElse((): ReadonlyArray<string> => [])),
        Effect.catchIf(({ reason }) => reason._tag === "AccessDenied", () => Effect.succeed([]))
      )
    for (const name of names.toSorted()) {
      const at = path === "/" ? `/${name}` : `${path}/${name}`
      const { json, text } = yield* look(store, at)
      yield* event({ event: "node", path: at, ...json }, `${"  ".repeat(depth)}${name} = ${text}`)
      yield* tree(store, at, depth + 1)
    }
  })

const ls = Command.make("ls", { path: node }, ({ path }) =>
  Effect.flatMap(XenStore.XenStore, (store) => tree(store, path, 0))).pipe(
    Command.withDescription("Print all nodes below a path, with their values."),
    Command.withShortDescription("Print what is below a path")
  )

const read = Command.make("read", { path: node }, Effect.fnUntraced(function*({ path }) {
  const store = yield* XenStore.XenStore
  const { event } = yield* Output
  const { json, text } = shown(yield* store.read(path))
  yield* event({ event: "node", path, ...json }, text)
})).pipe(
  Command.withDescription("Print the value of a node, as text in quotation marks, or as hexadecimal bytes if it is no text."),
  Command.withShortDescription("Print the value of a node")
)

const watch = Command.make("watch", { path }, Effect.fnUntraced(function*({ path }) {
  const store = yield* XenStore.XenStore
  const { event } = yield* Output
  yield* store.watch(path).pipe(
    Stream.runForEach((changed) =>
      // Domains that come and go are no nodes.
      changed.startsWith("@")
        ? event({ event: "changed", path: changed }, changed)
        : Effect.flatMap(look(store, changed), ({ json, text }) =>
          event({ event: "changed", path: changed, ...json }, `${changed} = ${text}`))
    )
  )
})).pipe(
  Command.withDescription(
    "Print each node that changes, at a path or below it, with its value, until Ctrl-C or SIGTERM. The path itself comes " +
      "first, and changes that come faster than they are printed are one."
  ),
  Command.withShortDescription("Print what changes below a path")
)

/**
 * Looks at xenstore.
 *
 * @category commands
 * @since 0.2.0
 */
export const store = Command.make("store").pipe(
  Command.withDescription("Look at xenstore: the tree of small values in which domains find each other."),
  Command.withShortDescription("Look at xenstore"),
  Command.withSubcommands([ls, read, watch])
)
