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
import * as Picture from "./Picture.ts"
import type * as Wire from "./Wire.ts"

/**
 * There are as many screens as the application allows.
 *
 * @category errors
 * @since 0.2.0
 */
export class TooManyScreens extends Schema.TaggedError<TooManyScreens>()("TooManyScreens", { most: Schema.Int }) {
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
  readonly connector: number
  /** Takes what people do into the guest; left out where nothing can. */
  readonly input?: ((input: Wire.Input) => Effect.Effect<void>) | undefined
}

/**
 * A screen, open.
 *
 * @category models
 * @since 0.2.0
 */
export interface Screen {
  readonly id: number
  readonly info: Wire.ScreenInfo
  /** What is shown, undefined while nothing is. Another one for each size. */
  readonly picture: Picture.Picture | undefined
  /** Frames shown so far. */
  readonly frames: number
  /** Takes over a frame now; the memory is not looked at any more when this returns. Gives how many tiles changed. */
  readonly show: (frame: Pixels) => number
  /** Shows nothing any more. */
  readonly blank: () => void
  /** Says what the guest's driver does, in a word. */
  readonly setState: (state: string) => void
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
  /** All screens, in the order in which they were opened. */
  readonly all: () => ReadonlyArray<Screen>
  readonly find: (id: number) => Screen | undefined
  /** Calls back whenever a screen comes, goes or changes its size or state, for as long as the scope is open. */
  readonly onChange: (changed: () => void) => Effect.Effect<void, never, Scope.Scope>
}>()("@xen-shbuf/screen/Screens") {}

/** Those who want to hear of something. */
class Listeners {
  readonly #all = new Set<() => void>()
  readonly add = (listener: () => void): Effect.Effect<void, never, Scope.Scope> =>
    Effect.acquireRelease(Effect.sync(() => void this.#all.add(listener)), () =>
      Effect.sync(() => this.#all.delete(listener)))

  call() {
    for (const listener of [...this.#all]) listener()
  }
}

class ScreenImpl implements Screen {
  readonly id: number
  readonly #options: Options
  readonly #listed: Listeners
  readonly #viewers = new Listeners()
  #state = "connected"
  picture: Picture.Picture | undefined
  frames = 0

  constructor(id: number, options: Options, listed: Listeners) {
    this.id = id
    this.#options = options
    this.#listed = listed
  }

  get info(): Wire.ScreenInfo {
    const { connector, guest, input, name } = this.#options
    const { height = 0, width = 0 } = this.picture ?? {}
    return { id: this.id, guest, name, connector, width, height, state: this.#state, input: input !== undefined }
  }

  show = (frame: Pixels): number => {
    const { height, width } = frame
    const isNew = this.picture?.width !== width || this.picture.height !== height
    const picture = isNew ? new Picture.Picture(width, height) : this.picture!
    const changed = picture.show(frame)
    this.picture = picture
    this.frames++
    if (isNew) this.#listed.call()
    if (isNew || changed > 0) this.#viewers.call()
    return changed
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

  input = (input: Wire.Input) => this.#options.input?.(input) ?? Effect.void

  onChange = this.#viewers.add
}

/**
 * Screens, as many as `most` at one time: 64 unless given.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = ({ most = 64 }: { readonly most?: number | undefined } = {}): Screens["Service"] => {
  const screens = new Map<number, ScreenImpl>()
  const listed = new Listeners()
  let made = 0
  const add = (options: Options) =>
    Effect.suspend(() => {
      if (screens.size >= most) return Effect.fail(new TooManyScreens({ most }))
      const screen = new ScreenImpl(++made, options, listed)
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
    all: () => [...screens.values()],
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
export const layer = (options?: { readonly most?: number | undefined }): Layer.Layer<Screens> =>
  Layer.sync(Screens, () => make(options))
