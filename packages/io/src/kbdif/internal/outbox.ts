import type { Producer } from "@xen-shbuf/xenbus/EventPage"
import type { RingError } from "@xen-shbuf/xenbus/RingError"
import * as Result from "effect/Result"
import * as Protocol from "../Protocol.ts"

/** Events that wait for a guest at most: more than a person makes while it hangs for a second. */
const mostWaiting = 512

const sum = (a: number, b: number) => Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, a + b))

/** What two events in a row say together, where they can be one. */
const merged = (before: Protocol.Event | undefined, event: Protocol.Event): Protocol.Event | undefined => {
  if (before?._tag === "Motion" && event._tag === "Motion") {
    return { _tag: "Motion", x: sum(before.x, event.x), y: sum(before.y, event.y), wheel: sum(before.wheel, event.wheel) }
  }
  if (before?._tag === "Position" && event._tag === "Position") return { ...event, wheel: sum(before.wheel, event.wheel) }
  return undefined
}

/** Events on their way into a page that may be full. Movements that wait become one. */
export class Outbox {
  readonly #page: Producer
  readonly #waiting: Array<Protocol.Event> = []

  constructor(page: Producer) {
    this.#page = page
  }

  /** Takes events, all or none: none where too many wait already. Throws for one that is none, before any is taken. */
  add(events: ReadonlyArray<Protocol.Event>): boolean {
    if (this.#waiting.length + events.length > mostWaiting) return false
    // Copies, as the guest will see them: the caller's may change while they wait.
    for (const event of events.map((event) => Protocol.decodeEvent(Protocol.encodeEvent(event)))) {
      const together = merged(this.#waiting.at(-1), event)
      if (together === undefined) this.#waiting.push(event)
      else this.#waiting[this.#waiting.length - 1] = together
    }
    return true
  }

  /** Writes as many as the page has places for; the frontend sees them when they are pushed. */
  flush(): Result.Result<void, RingError> {
    let done = 0
    for (const event of this.#waiting) {
      const isPut = this.#page.put(Protocol.encodeEvent(event))
      if (Result.isFailure(isPut)) return Result.fail(isPut.failure)
      if (!isPut.success) break
      done++
    }
    this.#waiting.splice(0, done)
    return Result.void
  }
}
