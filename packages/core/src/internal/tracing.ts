import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
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
