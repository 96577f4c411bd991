import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"

/**
 * Opens a span around an effect where somebody traces. The tracer that Effect has by default keeps nothing, but a span
 * reads the clock four times even so, and in many Xen domains that is a system call.
 */
export const traced = <A, E, R>(
  name: string,
  attributes: Record<string, unknown>,
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiber(({ context }) =>
    Context.get(context, Tracer.Tracer) === Tracer.nativeTracer
      ? self
      : Effect.useSpan(name, { attributes }, (span) => Effect.provideService(self, Tracer.ParentSpan, span)))

/** How many callers an error notes down: V8's, and so Node's; elsewhere it changes nothing. */
const traces = Error as ErrorConstructor & { stackTraceLimit: number }

/**
 * Names an operation, for the function that its callers call: a span where somebody traces, and in any case the place of
 * the call in stack traces. `Effect.fn` gives both too, but its span always.
 */
export const operation = <A, E, R>(name: string, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  const limit = traces.stackTraceLimit
  traces.stackTraceLimit = 3
  const here = new Error()
  traces.stackTraceLimit = limit
  // Behind this function and the one that calls it.
  const stack = () => here.stack?.split("\n")[3]?.trim()
  return Effect.updateService(traced(name, {}, self), References.CurrentStackFrame, (parent) => ({ name, stack, parent }))
}
