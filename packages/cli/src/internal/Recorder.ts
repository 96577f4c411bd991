/** Writes what screens show to files, without a viewer: pictures, or films. */
import * as Screens from "@xen-shbuf/screen/Screens"
import * as Wire from "@xen-shbuf/screen/Wire"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as FileSystem from "effect/FileSystem"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Film from "../Film.ts"
import { Output } from "../Output.ts"
import * as Png from "../Png.ts"
import { FreshFiles } from "./FreshFiles.ts"

/** A copy of what a screen shows. */
interface Shot {
  readonly width: number
  readonly height: number
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** Calls for each picture that a screen shows, as they come; those that come while it is busy are one, the newest. */
const follow = Effect.fnUntraced(function*<E, R>(
  screen: Screens.Screen,
  take: (shot: Shot) => Effect.Effect<void, E, R>
) {
  const { find, onChange } = yield* Screens.Screens
  const news = yield* Latch.make(true)
  yield* onChange(() => news.openUnsafe())
  yield* screen.onChange(() => news.openUnsafe())
  let seen: { readonly picture: unknown; readonly version: number } | undefined
  while (find(screen.id) !== undefined) {
    yield* news.await
    yield* news.close
    const { picture } = screen
    if (picture === undefined || seen?.picture === picture && seen.version === picture.version) continue
    seen = { picture, version: picture.version }
    const { height, width, words } = picture
    yield* take({ width, height, bytes: new Uint8Array(words.slice().buffer) })
  }
})

/** A name for files: what a guest calls itself may be anything. */
const stemOf = ({ info }: Screens.Screen) =>
  `${info.name.replace(/[^\w.-]+/g, "-").replace(/^\.+/, "") || `domain-${info.guest}`}-${Wire.placeOf(info)}`

const toRgb = ({ bytes }: Shot): Uint8Array<ArrayBuffer> => {
  const rgb = new Uint8Array(bytes.length / 4 * 3)
  for (let from = 0, to = 0; from < bytes.length; from += 4, to += 3) {
    rgb[to] = bytes[from + 2]!
    rgb[to + 1] = bytes[from + 1]!
    rgb[to + 2] = bytes[from]!
  }
  return rgb
}

const say = (kind: string, file: string, { info: { connector, display, guest } }: Screens.Screen) =>
  Output.use(({ event }) => event({ event: kind, file, guest, display, connector }, `Writing ${file}`))

/** Writes what a screen shows, until it is gone. */
type Write = (screen: Screens.Screen) => Effect.Effect<
  void,
  Png.PngNotWritten | Film.FilmError,
  FileSystem.FileSystem | Output | Screens.Screens | Scope.Scope
>

/** Writes each picture to a file of its own. */
const pictures = (files: FreshFiles): Write => (screen) =>
  Effect.gen(function*() {
    const name = `${stemOf(screen)}-${screen.id}`
    let isFirst = true
    yield* follow(screen, Effect.fnUntraced(function*(shot) {
      const file = yield* Effect.mapError(files.next(name, ".png", 6), ({ reason }) => new Png.PngNotWritten({ file: name, reason }))
      yield* Png.write(file, shot)
      if (isFirst) yield* say("pictures", file, screen)
      isFirst = false
    }))
  })

/** Films a screen from its first picture until it is gone. */
const film = (files: FreshFiles): Write => (screen) =>
  Effect.scoped(Effect.gen(function*() {
    const name = stemOf(screen)
    const file = yield* Effect.mapError(files.next(name, ".webm"), ({ message }) =>
      new Film.FilmError({ file: name, reason: { _tag: "NotWritten" }, detail: message }))
    const { add } = yield* Film.open(file)
    yield* say("film", file, screen)
    let begin: number | undefined
    let last: Film.Picture | undefined
    const addNow = (picture: Film.Picture) =>
      Effect.suspend(() => {
        const now = performance.now() / 1000
        begin ??= now
        return add(picture, now - begin, 1 / 60)
      })
    // What is shown last is shown until the end.
    yield* Effect.addFinalizer(() => last === undefined ? Effect.void : Effect.ignore(addNow(last)))
    yield* follow(screen, (shot) => {
      last = { width: shot.width, height: shot.height, rgb: toRgb(shot) }
      return addNow(last)
    })
  }))

/** What to write where. */
export interface Options {
  readonly png: string | undefined
  readonly film: string | undefined
}

const makeFolder = (folder: string) =>
  Effect.mapError(FileSystem.FileSystem.use((fs) => fs.makeDirectory(folder, { recursive: true })), ({ reason }) =>
    new Png.PngNotWritten({ file: folder, reason }))

/** Makes all ready, and gives what then records every screen, those to come as well, until it is interrupted or fails. */
export const prepare = Effect.fnUntraced(function*(options: Options) {
  const ways: Array<Write> = []
  if (options.png !== undefined) {
    yield* makeFolder(options.png)
    ways.push(pictures(new FreshFiles(options.png)))
  }
  if (options.film !== undefined) {
    yield* Film.load(options.film)
    yield* makeFolder(options.film)
    ways.push(film(new FreshFiles(options.film)))
  }
  return ways.length === 0 ? Effect.never : record(ways)
})

const record = Effect.fnUntraced(function*(ways: ReadonlyArray<Write>) {
  const { all, onChange } = yield* Screens.Screens
  const news = yield* Latch.make(true)
  yield* onChange(() => news.openUnsafe())
  const running = yield* FiberSet.make<void, Png.PngNotWritten | Film.FilmError>()
  const known = new Set<number>()
  const looking = Effect.forever(Effect.gen(function*() {
    yield* news.await
    yield* news.close
    for (const screen of all()) {
      if (known.has(screen.id)) continue
      known.add(screen.id)
      for (const write of ways) yield* FiberSet.run(running, Effect.scoped(write(screen)))
    }
  }))
  return yield* Effect.raceFirst(looking, Effect.andThen(FiberSet.join(running), Effect.never))
}, Effect.scoped)
