import * as Effect from "effect/Effect"

/** Paths that have changed and were not looked at yet: each once, and no more than so many. */
export interface Changes<E> {
  readonly add: (path: string) => void
  /** Nothing comes any more: what is there can still be taken, then this is the answer. */
  readonly end: (error: E) => void
  /** Takes all that there is, in the order of the first change of each, or waits for the next. */
  readonly take: Effect.Effect<ReadonlyArray<string>, E>
}

/** More than `most` different paths become `all` alone, until it is taken. For one who takes. */
export const make = <E>(all: string, most: number): Changes<E> => {
  const paths = new Set<string>()
  let tooMany = false
  let wake: (() => void) | undefined
  const take: Changes<E>["take"] = Effect.suspend(() => {
    if (paths.size === 0) return nothing
    const changed = [...paths]
    paths.clear()
    tooMany = false
    return Effect.succeed(changed)
  })
  // In a turn of its own: not in the middle of what whoever tells of a change is doing.
  const later = Effect.andThen(Effect.yieldNow, take)
  const wait: Changes<E>["take"] = Effect.callback((resume) => {
    wake = () => resume(later)
    return Effect.sync(() => {
      wake = undefined
    })
  })
  /** The answer to who takes when there is nothing. */
  let nothing = wait
  const awaken = () => {
    const waiting = wake
    wake = undefined
    waiting?.()
  }
  return {
    add: (path) => {
      if (!tooMany) paths.add(path)
      if (paths.size > most) {
        tooMany = true
        paths.clear()
        paths.add(all)
      }
      awaken()
    },
    end: (error) => {
      if (nothing === wait) nothing = Effect.fail(error)
      awaken()
    },
    take
  }
}
