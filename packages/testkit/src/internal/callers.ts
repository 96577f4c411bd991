/**
 * Tells who called, from the frames that `Effect.fn`, spans and those below leave on a fiber.
 */
import * as CallSite from "@xen-shbuf/core/CallSite"
import type { EventChannels } from "@xen-shbuf/core/EventChannels"
import type { GrantTable } from "@xen-shbuf/core/GrantTable"
import type { XenStore } from "@xen-shbuf/core/XenStore"
import type * as References from "effect/References"
import { inspect } from "node:util"

/** The same grant table, but a share or a mapping knows who made it; the table itself takes no time for that. */
export const tellingCaller = (table: GrantTable["Service"]): GrantTable["Service"] => ({
  ...table,
  share: CallSite.named("GrantTable.share", table.share),
  map: CallSite.named("GrantTable.map", table.map)
})

/** The same event channels, but a channel knows who opened it. */
export const channelsTellingCaller = (channels: EventChannels["Service"]): EventChannels["Service"] => ({
  listen: CallSite.named("EventChannels.listen", channels.listen),
  join: CallSite.named("EventChannels.join", channels.join)
})

/** The same xenstore, but a transaction knows who began it. */
export const storeTellingCaller = (store: XenStore["Service"]): XenStore["Service"] => ({
  ...store,
  transaction: CallSite.named("XenStore.transaction", store.transaction)
})

// "at name (place)" or "at place": what is left of an error's stack.
const place = (stack: string): string =>
  (/\((.*)\)/.exec(stack)?.[1] ?? stack.replace(/^at /, "")).replace("file://", "")

/** The calls behind a frame, the innermost first, as `name (file:line:column)`. */
const callers = (innermost: References.StackFrame | undefined): ReadonlyArray<string> => {
  const calls: Array<string> = []
  for (let frame = innermost; frame !== undefined; frame = frame.parent) {
    // Each call is followed by the place where its function was defined: not what one looks for.
    if (frame.name.endsWith(" (definition)")) continue
    const stack = frame.stack()
    calls.push(stack === undefined ? frame.name : `${frame.name} (${place(stack)})`)
  }
  return calls
}

/** Adds who has made it, which is read from a stack only where somebody asks or prints it: that takes longer than all else. */
export const withCallers = <A extends object>(
  held: A,
  caller: References.StackFrame | undefined
): A & { readonly madeBy: ReadonlyArray<string> } =>
  Object.defineProperties(held, {
    madeBy: { enumerable: true, get: () => callers(caller) },
    [inspect.custom]: { value: () => ({ ...held }) }
  }) as A & { readonly madeBy: ReadonlyArray<string> }
