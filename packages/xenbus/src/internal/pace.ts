import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"

/** How often something that ends may begin again. */
export interface Pace {
  /** To be told when it has begun again. */
  readonly began: Effect.Effect<void>
  /** How long to wait before it may begin again, in milliseconds: 0 or less if it may now. */
  readonly remaining: Effect.Effect<number>
}

/** What began so long ago has nothing to do with what began before. */
const settled = Duration.toMillis("1 minute")

/** 10 ms, then twice as long each time, 10 s at most: Linux's frontends wait 1 s for a backend that comes back. */
export const restarts: Schedule.Schedule<unknown> = Schedule.exponential("10 millis").pipe(
  Schedule.modifyDelay(({ duration }) => Effect.succeed(Duration.min(duration, Duration.seconds(10))))
)

/** Begins at once for the first time, then after the schedule's delays; never again once the schedule is over. */
export const make: (schedule: Schedule.Schedule<unknown>) => Effect.Effect<Pace> = Effect.fnUntraced(
  function*(schedule) {
    let step = yield* Schedule.toStep(schedule)
    let last: number | undefined
    let next = -Infinity
    return {
      began: Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        if (last !== undefined && now - last >= settled) step = yield* Schedule.toStep(schedule)
        last = now
        const delay = yield* Effect.match(step(now, undefined), {
          onFailure: () => Infinity,
          onSuccess: ([, delay]) => Duration.toMillis(delay)
        })
        next = now + delay
      }),
      remaining: Effect.map(Clock.currentTimeMillis, (now) => next - now)
    }
  }
)
