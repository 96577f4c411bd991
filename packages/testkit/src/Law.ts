/**
 * States what must hold of every implementation of a service, as data: any test runner can run a law, and a program
 * without one too.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Formatter from "effect/Formatter"
import * as Layer from "effect/Layer"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { Domains } from "./Domains.ts"
import { InterruptingScheduler } from "./internal/InterruptingScheduler.ts"

/**
 * A law does not hold. `detail` says what was seen; for a property also the smallest input found, and a token that
 * replays it.
 *
 * @category errors
 * @since 0.1.0
 */
export class LawViolation extends Schema.TaggedError<LawViolation>()("LawViolation", {
  /** What was seen, in words. */
  detail: Schema.String
}) {
  override get message() {
    return this.detail
  }
}

/**
 * The error of a service's operation, of any service: it has a reason that says what is wrong.
 *
 * @category models
 * @since 0.2.0
 */
export interface OperationError {
  readonly _tag: string
  readonly message: string
  /** What is wrong. */
  readonly reason: { readonly _tag: string; readonly message: string }
}

/**
 * How a law fails: it is violated, or an operation fails that must not.
 *
 * @category models
 * @since 0.1.0
 */
export type Failure = LawViolation | OperationError

/**
 * A sentence about what domains have, and the check of it, which leaves nothing granted or mapped.
 *
 * @category models
 * @since 0.1.0
 */
export interface Law {
  /** What it is a law of. */
  readonly suite: string
  /** The sentence. */
  readonly name: string
  /** Fails unless the law holds. */
  readonly check: Effect.Effect<void, Failure, Domains>
}

/**
 * How properties are checked: the number of cases (100), the seed of their choice (a new one each time), or the token
 * of one law's failure to replay, for this law alone.
 *
 * @category models
 * @since 0.1.0
 */
export type Options = Pick<Arbitrary.CheckOptions, "runs" | "seed" | "replay">

/**
 * How the laws that run here check their properties.
 *
 * @category references
 * @since 0.2.0
 */
export const CurrentOptions: Context.Reference<Options> = Context.Reference<Options>(
  "@xen-shbuf/testkit/Law/CurrentOptions",
  { defaultValue: () => ({}) }
)

/** How deep errors note their callers: the program's to choose. V8's, and so Node's; elsewhere it is never set. */
const traceDepth = () => (Error as ErrorConstructor & { readonly stackTraceLimit?: number }).stackTraceLimit

/** Runs an effect, which must leave nothing held that wasn't before, and the program's own settings alone. */
const leavingNothing = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | LawViolation, R | Domains> =>
  Effect.gen(function*() {
    const { holdings } = yield* Domains
    const before = new Set(yield* holdings)
    const depth = traceDepth()
    const result = yield* self
    yield* equal("Error.stackTraceLimit afterwards", traceDepth(), depth)
    const left = (yield* holdings).filter((holding) => !before.has(holding))
    yield* holds(left.length === 0, `something is left behind: ${left.join("; ")}`)
    return result
  })

/**
 * Makes laws of one suite. The body of the check runs in a scope of its own, and must leave nothing behind.
 *
 * @category constructors
 * @since 0.1.0
 */
export const inSuite = (suite: string) =>
(
  name: string,
  check: () => Effect.fn.Return<void, Failure, Domains | Scope.Scope>
): Law => ({ suite, name, check: leavingNothing(Effect.scoped(Effect.gen(check))) })

const violated = (detail: string) => Effect.fail(new LawViolation({ detail }))

/**
 * Fails with `violation` unless the condition holds.
 *
 * @category assertions
 * @since 0.1.0
 */
export const holds = (condition: boolean, violation: string): Effect.Effect<void, LawViolation> =>
  condition ? Effect.void : violated(violation)

/**
 * Fails unless two values are structurally equal; `what` names them in the violation.
 *
 * @category assertions
 * @since 0.1.0
 */
export const equal = <A>(what: string, actual: A, expected: A): Effect.Effect<void, LawViolation> =>
  Equal.equals(actual, expected)
    ? Effect.void
    : violated(`${what} is ${Formatter.format(actual)}, but must be ${Formatter.format(expected)}`)

/**
 * Runs an operation that must fail, and succeeds with the reason, which must have this tag. A failure holds nothing,
 * even while the scope of the operation is still open.
 *
 * @category assertions
 * @since 0.1.0
 */
export const refused = <E extends OperationError, Tag extends E["reason"]["_tag"], R>(
  tag: Tag,
  operation: Effect.Effect<unknown, E, R>
): Effect.Effect<Tagged<E["reason"], Tag>, LawViolation, Exclude<R, Scope.Scope> | Domains> =>
  Effect.matchEffect(operation, {
    onSuccess: () => violated(`an operation succeeded that must fail with ${tag}`),
    onFailure: ({ reason }: { readonly reason: E["reason"] }) =>
      isTagged(reason, tag)
        ? Effect.succeed(reason)
        : violated(`the reason is ${reason._tag}, but must be ${tag}: ${reason.message}`)
  }).pipe(leavingNothing, Effect.scoped)

type Tagged<Reason, Tag> = Extract<Reason, { readonly _tag: Tag }>

const isTagged = <Reason extends OperationError["reason"], Tag extends string>(
  reason: Reason,
  tag: Tag
): reason is Tagged<Reason, Tag> => reason._tag === tag

/**
 * Checks a property for generated inputs: each in a scope of its own, and nothing may be left behind. Failures and
 * defects are shrunk to a small input.
 *
 * @category properties
 * @since 0.1.0
 */
export const forAll = <A, R>(
  inputs: Arbitrary.Arbitrary<A>,
  property: (input: A) => Effect.Effect<void, Failure, R>
): Effect.Effect<void, LawViolation, Exclude<R, Scope.Scope> | Domains> =>
  Effect.gen(function*() {
    const result = yield* Arbitrary.checkEffect(
      inputs,
      (input) => Effect.sandbox(Effect.as(leavingNothing(Effect.scoped(property(input))), true)),
      yield* CurrentOptions
    )
    const violation = Arbitrary.formatCheckFailure(result)
    if (violation !== undefined) return yield* violated(violation)
  })

/**
 * Interrupts an acquisition before each step of Effect's runtime that it consists of, once before each, or before
 * a selection of `10 * runs` of them. No interruption may leave anything behind, or turn into a failure.
 *
 * @category properties
 * @since 0.1.0
 */
export const interrupted = <R>(
  acquire: Effect.Effect<unknown, Failure, R>
): Effect.Effect<void, LawViolation, Exclude<R, Scope.Scope> | Domains> =>
  Effect.gen(function*() {
    const { runs = 100 } = yield* CurrentOptions
    const attempt = Effect.fnUntraced(function*(at: number) {
      const fiber = yield* Effect.scoped(acquire).pipe(
        Effect.provideService(Scheduler.Scheduler, new InterruptingScheduler(at)),
        Effect.forkChild({ startImmediately: true })
      )
      const exit = yield* Fiber.await(fiber)
      yield* holds(Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause), `the interruption arrived as ${exit}`)
      return exit
    })
    let last = 1
    while (Exit.isFailure(yield* attempt(last))) last *= 2
    const step = Math.ceil(last / (10 * runs))
    for (let at = 1; at < last; at += step) {
      yield* leavingNothing(attempt(at)).pipe(
        Effect.mapError(({ detail }) => new LawViolation({ detail: `interrupted before operation ${at}: ${detail}` }))
      )
    }
  })

/**
 * What became of a law: how long it took, and what is wrong, in words, if it does not hold.
 *
 * @category models
 * @since 0.1.0
 */
export interface Outcome {
  /** The law. */
  readonly law: Law
  /** How long it took. */
  readonly duration: Duration.Duration
  /** What is wrong, in words; undefined where the law holds. */
  readonly failure: string | undefined
}

/**
 * Runs a law on an implementation of its own, built and ended for it. A layer that can't be built is an outcome too.
 *
 * @category running
 * @since 0.1.0
 */
export const run = <E>(law: Law, layer: Layer.Layer<Domains, E>): Effect.Effect<Outcome> =>
  Effect.gen(function*() {
    const [duration, exit] = yield* Effect.timed(Effect.exit(Effect.provide(law.check, Layer.fresh(layer))))
    return { law, duration, failure: Exit.isFailure(exit) ? Cause.pretty(exit.cause) : undefined }
  })
