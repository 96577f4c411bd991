/** The page: draws what a guest shows, plays what it plays, and sends what a person does. */
import * as Wire from "../src/Wire.ts"
import { Grab } from "./Grab.ts"
import { Link } from "./Link.ts"
import { Pace } from "./Pace.ts"
import * as Painter from "./Painter.ts"
import { Sound } from "./Sound.ts"

const element = <E extends HTMLElement>(id: string) => document.querySelector<E>(`#${id}`)!

const canvas = element<HTMLCanvasElement>("picture")
const screens = element<HTMLUListElement>("screens")
const connection = element("connection")
const facts = element("facts")
const nothing = element("nothing")
const grabButton = element<HTMLButtonElement>("grab")
const shotButton = element<HTMLButtonElement>("shot")
const fullButton = element<HTMLButtonElement>("full")

/** Which connection to the server this is. */
let connections = 0
let known: ReadonlyArray<Wire.ScreenInfo> = []
/** The guests that have sound. */
let audible: ReadonlyArray<number> = []
let watched: Wire.ScreenInfo | undefined
/** What is drawn, but not told to the server because nobody sees the page. */
let unseen: number | undefined

const send = (message: Wire.ViewerMessage) => link.send(JSON.stringify(message))

const pace = new Pace((perSecond) => describe(perSecond))
const grab = new Grab(canvas, send, (isGrabbed) => {
  grabButton.setAttribute("aria-pressed", String(isGrabbed))
  canvas.dataset["grabbed"] = String(isGrabbed)
})

const label = ({ connector, display, name }: Wire.ScreenInfo) =>
  `${name}, ${display === 0 ? "" : `display ${display}, `}connector ${connector}`

const sound = new Sound(element<HTMLButtonElement>("sound"), element("sounds"))

/** Says what is shown. */
const describe = (perSecond: number) => {
  if (watched === undefined) {
    facts.textContent = ""
    return
  }
  const { guest, height, state, width } = watched
  const size = width === 0 ? "nothing shown" : `${width} × ${height}`
  facts.textContent = `${label(watched)} · domain ${guest} · ${state} · ${size} · ${perSecond} frames/s`
}

/** Which screen is wanted: by its name, so that it is found again when the guest or the server has begun anew. */
const nameOf = (screen: Wire.ScreenInfo) => `#${encodeURIComponent(screen.name)}/${Wire.placeOf(screen)}`
let wanted = location.hash

/** What there is to say where there is no picture. */
const absence = (screen: Wire.ScreenInfo | undefined) => {
  if (screen !== undefined) return `${label(screen)} shows nothing now.`
  return known.length === 0 ? "No guest shows a screen yet." : "This screen has gone. It is shown again when it is back."
}

const watch = (screen: Wire.ScreenInfo | undefined) => {
  const isNew = screen?.id !== watched?.id
  watched = screen
  if (isNew) {
    grab.release()
    pace.reset()
    if (screen !== undefined) send({ type: "watch", screen: screen.id, encodings: Painter.encodings })
  }
  const shows = screen !== undefined && screen.width > 0
  if (isNew || !shows) inTurn(() => Painter.clear(canvas))
  if (screen !== undefined) grab.size = Wire.sizeOf(screen)
  nothing.hidden = shows
  nothing.textContent = absence(screen)
  canvas.hidden = screen === undefined
  canvas.setAttribute("aria-label", screen === undefined ? "No screen yet" : `Screen of ${label(screen)}`)
  // What shows nothing may be asleep, and a key or the pointer wakes it.
  grab.isAllowed = screen?.input === true
  grabButton.disabled = !grab.isAllowed
  fullButton.disabled = screen === undefined
  shotButton.disabled = !shows
  sound.watch(screen !== undefined && audible.includes(screen.guest) ? { id: screen.guest, name: screen.name } : undefined)
  describe(pace.perSecond)
}

/** Keeps in the address which one is wanted. */
const want = (screen: Wire.ScreenInfo) => {
  wanted = nameOf(screen)
  history.replaceState(null, "", wanted)
}

const entry = (screen: Wire.ScreenInfo) => {
  const item = document.createElement("li")
  const button = document.createElement("button")
  button.type = "button"
  button.textContent = label(screen)
  button.setAttribute("aria-current", String(screen.id === watched?.id))
  button.addEventListener("click", () => {
    want(screen)
    list(known)
  })
  item.append(button)
  return item
}

const list = (all: ReadonlyArray<Wire.ScreenInfo>) => {
  known = all
  const first = all[0]
  if (wanted === "" && first !== undefined) want(first)
  watch(all.find(({ id }) => id === watched?.id && nameOf(watched) === wanted) ?? all.find((one) => nameOf(one) === wanted))
  const buttons = () => [...screens.querySelectorAll("button")]
  const focused = buttons().findIndex((button) => button === document.activeElement)
  screens.replaceChildren(...all.map(entry))
  buttons()[focused]?.focus()
}

/** Tells the server, unless it is another connection's by now. */
const shown = (sequence: number, from: number) => {
  if (from !== connections) return
  if (document.hidden) unseen = sequence
  else send({ type: "shown", sequence })
}

// A bookmark, or an address that somebody has edited.
addEventListener("hashchange", () => {
  wanted = location.hash
  list(known)
})

document.addEventListener("visibilitychange", () => {
  if (document.hidden || unseen === undefined) return
  const sequence = unseen
  unseen = undefined
  send({ type: "shown", sequence })
})

/** Draws in the order in which messages came, though they are unpacked in the background. */
let drawing: Promise<void> = Promise.resolve()

const inTurn = (work: () => Promise<void> | void) => {
  drawing = drawing.then(work).catch((error: unknown) => {
    connection.textContent = `What the server sent can't be drawn: ${String(error)}`
  })
}

const draw = (message: ArrayBuffer, from: number) => {
  const tiles = Wire.decodeTiles(message)
  if (tiles === undefined) return
  inTurn(async () => {
    // Of the one before, on its way when another was chosen.
    if (tiles.screen === watched?.id) {
      await Painter.paint(canvas, tiles)
      pace.saw(tiles.frames)
    }
    shown(tiles.sequence, from)
  })
}

const link = new Link("socket", {
  opened: () => {
    connection.textContent = "Connected"
    connection.dataset["state"] = "open"
    // The server knows nothing of the one before.
    watched = undefined
    unseen = undefined
    connections++
  },
  text: (text) => {
    const message = JSON.parse(text) as Wire.ServerMessage
    audible = message.audible
    list(message.screens)
    // It tells of all before it, too: not while they are still to be drawn.
    const from = connections
    inTurn(() => shown(message.sequence, from))
  },
  binary: (message) => draw(message, connections),
  lost: (reason) => {
    grab.release()
    connection.textContent = reason === "" ? "Connection lost, trying again …" : `Cut off: ${reason} Trying again …`
    connection.dataset["state"] = "lost"
  }
})

// With the focus the canvas would lose the grab before the click, which would begin it anew.
grabButton.addEventListener("mousedown", (event) => event.preventDefault())
grabButton.addEventListener("click", () => grab.toggle())
fullButton.addEventListener("click", () => {
  void element("stage").requestFullscreen().then(() => canvas.focus())
})
shotButton.addEventListener("click", () => {
  canvas.toBlob((blob) => {
    if (blob === null || watched === undefined) return
    const link = document.createElement("a")
    link.href = URL.createObjectURL(blob)
    link.download = `${watched.name}-${Wire.placeOf(watched)}.png`
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
  }, "image/png")
})
