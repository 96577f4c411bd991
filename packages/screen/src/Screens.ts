/**
 * Knows the screens that there are, what each shows, and who looks at it.
 *
 * A driver opens a screen for as long as its connector is connected, and shows frames on it; viewers look whenever they
 * are ready for more. So nobody waits for a slow viewer, and what nobody looks at costs one comparison a frame.
 *
 * @since 0.2.0
 */
import type { Pixels } from "@xen-shbuf/io/displif/PixelFormat"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { Listeners } from "./internal/Listeners.ts"
import * as Picture from "./Picture.ts"
import type * as Wire from "./Wire.ts"

/**
 * There are as many screens as the application allows.
 *
 * @category errors
 * @since 0.2.0
 */
export class TooManyScreens extends Schema.TaggedError<TooManyScreens>()("TooManyScreens", {
  /** As many as there may be. */
  most: Schema.Int
}) {
  override get message() {
    return `There are ${this.most} screens already, which is as many as are shown here.`
  }
}

/**
 * What a driver tells of a screen when it opens it.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** The domain whose screen it is. */
  readonly guest: number
  /** The domain's name. */
  readonly name: string
  /** Which of the domain's displays it is on, from 0: the first, unless given. */
  readonly display?: number | undefined
  /** Which of the display's connectors it is, from 0. */
  readonly connector: number
  /** Takes what people do into the guest. */
  readonly input: (input: Wire.Input) => Effect.Effect<void>
}

/**
 * How much is shown at one time.
 *
 * @category models
 * @since 0.2.0
 */
export interface Limits {
  /** Screens of all guests, 64 unless given. */
  readonly most?: number | undefined
  /** Pixels of all screens of one guest, 2^26 unless given: we keep four bytes for each. */
  readonly mostPixels?: number | undefined
}

/**
 * A screen, open.
 *
 * @category models
 * @since 0.2.0
 */
export interface Screen {
  /** Names it for as long as the server runs. */
  readonly id: number
  /** What a page is told of it. */
  readonly info: Wire.ScreenInfo
  /** What is shown, undefined while nothing is. Another one for each size. */
  readonly picture: Picture.Picture | undefined
  /** Frames shown so far. */
  readonly frames: number
  /**
   * Takes over a frame now; the memory is not looked at any more when this returns. Gives how many tiles changed. A frame
   * that is too big is not shown, and the state says so.
   */
  readonly show: (frame: Pixels) => number
  /** Shows nothing any more. */
  readonly blank: () => void
  /** Says what the guest's driver does, in a word. */
  readonly setState: (state: string) => void
  /** Says whether there is anything in the guest that takes what people do: nothing, at first. */
  readonly setTakesInput: (takesInput: boolean) => void
  /** Takes what a person does into the guest. */
  readonly input: (input: Wire.Input) => Effect.Effect<void>
  /** Calls back whenever there is something new to see, for as long as the scope is open. */
  readonly onChange: (changed: () => void) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * The screens that there are.
 *
 * @category services
 * @since 0.2.0
 */
export class Screens extends Context.Service<Screens, {
  /** Opens a screen for as long as the scope is open. */
  readonly open: (options: Options) => Effect.Effect<Screen, TooManyScreens, Scope.Scope>
  /** All screens, by their guests, displays and connectors. */
  readonly all: () => ReadonlyArray<Screen>
  /** The screen of this name, if there is one. */
  readonly find: (id: number) => Screen | undefined
  /** Calls back whenever a screen comes, goes or changes its size or state, for as long as the scope is open. */
  readonly onChange: (changed: () => void) => Effect.Effect<void, never, Scope.Scope>
}>()("@xen-shbuf/screen/Screens") {}

/** The longest side of a picture on its way to a page. */
const longest = 0xffff

class ScreenImpl implements Screen {
  readonly id: number
  readonly guest: number
  readonly display: number
  readonly connector: number
  readonly #options: Options
  readonly #listed: Listeners
  /** The pixels that this screen may have, as things stand. */
  readonly #mostPixels: (screen: ScreenImpl) => number
  readonly #viewers = new Listeners()
  #state = "connected"
  #isTooBig = false
  #takesInput = false
  picture: Picture.Picture | undefined
  frames = 0

  constructor(id: number, options: Options, listed: Listeners, mostPixels: (screen: ScreenImpl) => number) {
    this.id = id
    this.guest = options.guest
    this.display = options.display ?? 0
    this.connector = options.connector
    this.#options = options
    this.#listed = listed
    this.#mostPixels = mostPixels
  }

  get info(): Wire.ScreenInfo {
    const { connector, display, guest, id } = this
    const { name } = this.#options
    const { height = 0, width = 0 } = this.picture ?? {}
    const state = this.#isTooBig ? "too big to be shown" : this.#state
    return { id, guest, name, display, connector, width, height, state, input: this.#takesInput }
  }

  show = (frame: Pixels): number => {
    const { height, width } = frame
    const isNew = this.picture?.width !== width || this.picture.height !== height
    if (isNew && !this.#fits(width, height)) return 0
    const picture = isNew ? new Picture.Picture(width, height) : this.picture!
    const changed = picture.show(frame)
    this.picture = picture
    this.frames++
    if (isNew) this.#listed.call()
    if (isNew || changed > 0) this.#viewers.call()
    return changed
  }

  #fits(width: number, height: number): boolean {
    const fits = Math.max(width, height) <= longest && width * height <= this.#mostPixels(this)
    if (!fits) this.blank()
    if (this.#isTooBig === fits) {
      this.#isTooBig = !fits
      this.#listed.call()
    }
    return fits
  }

  blank = () => {
    if (this.picture === undefined) return
    this.picture = undefined
    this.#listed.call()
    this.#viewers.call()
  }

  setState = (state: string) => {
    if (this.#state === state) return
    this.#state = state
    this.#listed.call()
  }

  setTakesInput = (takesInput: boolean) => {
    if (this.#takesInput === takesInput) return
    this.#takesInput = takesInput
    this.#listed.call()
  }

  input = (input: Wire.Input) => this.#options.input(input)

  onChange = this.#viewers.add
}

/**
 * Screens, as many as the limits allow.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = ({ most = 64, mostPixels = 2 ** 26 }: Limits = {}): Screens["Service"] => {
  const screens = new Map<number, ScreenImpl>()
  const listed = new Listeners()
  let made = 0
  const mostOf = (screen: ScreenImpl) => {
    let left = mostPixels
    for (const other of screens.values()) {
      if (other !== screen && other.guest === screen.guest) left -= other.picture?.words.length ?? 0
    }
    return left
  }
  const add = (options: Options) =>
    Effect.suspend(() => {
      if (screens.size >= most) return Effect.fail(new TooManyScreens({ most }))
      const screen = new ScreenImpl(++made, options, listed, mostOf)
      screens.set(screen.id, screen)
      listed.call()
      return Effect.succeed(screen)
    })
  const remove = (screen: ScreenImpl) =>
    Effect.sync(() => {
      screens.delete(screen.id)
      screen.blank()
      listed.call()
    })
  return Screens.of({
    open: (options) => Effect.acquireRelease(add(options), remove),
    all: () => [...screens.values()].toSorted((a, b) => a.guest - b.guest || a.display - b.display || a.connector - b.connector || a.id - b.id),
    find: (id) => screens.get(id),
    onChange: listed.add
  })
}

/**
 * Provides an application with its screens; see `make`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (limits?: Limits): Layer.Layer<Screens> => Layer.sync(Screens, () => make(limits))
