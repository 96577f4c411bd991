import type * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"

/**
 * Interrupts a fiber before one operation of the runtime, counted from 1 over all fibers that run on this scheduler:
 * the fiber whose operation it is, or the first that ran here.
 *
 * The running fiber yields there, and is interrupted then. To interrupt it at once would be wrong: the runtime has
 * already looked for interruptions, and would begin the operation, such as the closing of a scope, but not go on.
 */
export class InterruptingScheduler extends Scheduler.MixedScheduler {
  /** Operations of the runtime so far. */
  operations = 0
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
    if (++this.operations !== this.at) return super.shouldYield(fiber)
    const target = this.whom === "first" ? this.first : fiber
    this.interruptedFirst = target === this.first
    // Fibers take turns in macrotasks: this comes before the next one.
    queueMicrotask(() => target.interruptUnsafe(target.id))
    return true
  }
}
