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

type Touch<Tag extends Protocol.Touch["_tag"]> = Extract<Protocol.Touch, { readonly _tag: Tag }>

/** What only moves contacts. */
const movement = (event: Protocol.Event | undefined): Touch<"Motion" | "Sync"> | undefined =>
  event?._tag === "Touch" && (event.touch._tag === "Motion" || event.touch._tag === "Sync") ? event.touch : undefined

/** What an event puts down or lets go of: a key or a button, or a contact. */
const hold = (event: Protocol.Event): { readonly what: string; readonly isDown: boolean } | undefined => {
  if (event._tag === "Key") return { what: `key ${event.code}`, isDown: event.pressed }
  if (event._tag !== "Touch" || event.touch._tag !== "Down" && event.touch._tag !== "Up") return undefined
  return { what: `contact ${event.touch.contact}`, isDown: event.touch._tag === "Down" }
}

/** Events on their way into a page that may be full. Movements that wait become one. */
export class Outbox {
  readonly #page: Producer
  readonly #waiting: Array<Protocol.Event> = []
  /** What is down by the events that were taken. */
  readonly #held = new Set<string>()

  constructor(page: Producer) {
    this.#page = page
  }

  /**
   * Takes events, all or none: none where too many wait already, unless all they do is let go of something, which would stay
   * down in the guest for ever. Throws for one that is none, before any is taken.
   */
  add(events: ReadonlyArray<Protocol.Event>): boolean {
    if (this.#waiting.length + events.length > mostWaiting && !this.#letGo(events)) return false
    // Copies, as the guest will see them: the caller's may change while they wait.
    for (const event of events.map((event) => Protocol.decodeEvent(Protocol.encodeEvent(event)))) {
      this.#note(event)
      if (!this.#move(event)) this.#push(event)
    }
    return true
  }

  /** Each of them once, and nothing pressed: so what waits is bounded by what is down. */
  #letGo(events: ReadonlyArray<Protocol.Event>): boolean {
    const those = new Set<string>()
    for (const event of events) {
      const held = hold(event)
      if (held === undefined ? movement(event)?._tag !== "Sync" : held.isDown || !this.#held.has(held.what)) return false
      if (held !== undefined) those.add(held.what)
    }
    return those.size > 0 && events.length <= 2 * those.size
  }

  #note(event: Protocol.Event) {
    const held = hold(event)
    if (held?.isDown === true) this.#held.add(held.what)
    else if (held !== undefined) this.#held.delete(held.what)
  }

  #push(event: Protocol.Event) {
    const together = merged(this.#waiting.at(-1), event)
    if (together === undefined) this.#waiting.push(event)
    else this.#waiting[this.#waiting.length - 1] = together
  }

  /**
   * Lets a contact that moves and waits move further, as long as all that waits after it are movements of contacts. True where
   * nothing is left to say then: of a `Sync` where nothing has moved since the one before.
   */
  #move(event: Protocol.Event): boolean {
    const moved = movement(event)
    if (moved === undefined) return false
    if (moved._tag === "Sync") return movement(this.#waiting.at(-1))?._tag === "Sync"
    for (let i = this.#waiting.length - 1; i >= 0; i--) {
      const before = movement(this.#waiting[i])
      if (before === undefined) return false
      if (before._tag === "Sync" || before.contact !== moved.contact) continue
      this.#waiting[i] = event
      return true
    }
    return false
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
