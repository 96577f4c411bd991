import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { join } from "node:path"

/** Files with a number, in a folder, each a new one: what was recorded before stays as it is. */
export class FreshFiles {
  readonly #folder: string
  /** The last number of each name. */
  readonly #last = new Map<string, number>()

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Makes the next file of a name, empty, with so many digits: after the last one that is there. */
  readonly next = Effect.fnUntraced(function*(this: FreshFiles, name: string, ending: string, digits = 1) {
    const fs = yield* FileSystem.FileSystem
    const found = this.#last.has(name) ? 0 : yield* this.#find(name, ending)
    while (true) {
      const number = (this.#last.get(name) ?? found) + 1
      this.#last.set(name, number)
      const file = join(this.#folder, `${name}-${String(number).padStart(digits, "0")}${ending}`)
      const isNew = yield* Effect.scoped(Effect.as(fs.open(file, { flag: "wx" }), true)).pipe(
        // Another process records the same.
        Effect.catchIf(({ reason }) => reason._tag === "AlreadyExists", () => Effect.succeed(false))
      )
      if (isNew) return file
    }
  }).bind(this)

  /** The last number of a name in the folder. */
  readonly #find = Effect.fnUntraced(function*(this: FreshFiles, name: string, ending: string) {
    const fs = yield* FileSystem.FileSystem
    const files = yield* fs.readDirectory(this.#folder)
    const numbers = files
      .filter((file) => file.startsWith(`${name}-`) && file.endsWith(ending))
      .map((file) => file.slice(name.length + 1, -ending.length))
      // What has more digits was not numbered here.
      .filter((text) => /^[0-9]{1,15}$/.test(text))
    return numbers.reduce((last, text) => Math.max(last, Number(text)), 0)
  })
}
