import type * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"

/**
 * Interrupts a fiber before one step of the runtime, counted from 1 over all fibers that run on this scheduler:
 * the fiber whose step it is, or the first that ran here.
 *
 * The running fiber yields there, and is interrupted then. To interrupt it at once would be wrong: the runtime has
 * already looked for interruptions, and would begin the step, such as the closing of a scope, but not go on.
 */
export class InterruptingScheduler extends Scheduler.MixedScheduler {
  /** Steps of the runtime so far. */
  steps = 0
  /** Whether it was the first fiber that was interrupted. */
  interruptedFirst = false
  private first: Fiber.Fiber<unknown, unknown> | undefined
  private readonly at: number
  private readonly whom: "running" | "first"
  constructor(at: number, whom: "running" | "first" = "running") {
    super()
    this.at = at
    this.whom = whom
  }
  override shouldYield(fiber: Fiber.Fiber<unknown, unknown>) {
    this.first ??= fiber
    if (++this.steps !== this.at) return super.shouldYield(fiber)
    const target = this.whom === "first" ? this.first : fiber
    this.interruptedFirst = target === this.first
    // Fibers take turns in macrotasks: this comes before the next one.
    queueMicrotask(() => target.interruptUnsafe(target.id))
    return true
  }
}
