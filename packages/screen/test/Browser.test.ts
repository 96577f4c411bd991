import { afterAll, assert, describe, it } from "@effect/vitest"
import * as PixelFormat from "@xen-shbuf/io/displif/PixelFormat"
import type { Event } from "@xen-shbuf/io/kbdif/Protocol"
import type * as TestXen from "@xen-shbuf/testkit/TestXen"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import type { Browser, BrowserContextOptions, Page } from "playwright-core"
import * as World from "./World.ts"

let started: Browser | undefined
afterAll(() => started?.close())

/** One for all tests, or a new one where a test has left it dead. */
const running = Effect.promise(async () => {
  if (!started?.isConnected()) started = await World.launch()
  return started
})

const inXen = (
  name: string,
  test: (browser: Browser) => Effect.Effect<void, unknown, TestXen.TestXen | World.Shown | Scope.Scope>
) => it.live(name, () => Effect.flatMap(running, (browser) => World.surviving(browser)(World.checked(test(browser)))))

const run = <A>(program: () => Promise<A>) => Effect.promise(program)

/** A guest's screen, a page that looks at it, and what is on both. */
const screenOf = Effect.fnUntraced(function*(id: number, resolution: string, seed: number) {
  yield* World.addGuest(id, `guest-${id}`, resolution)
  const monitor = yield* World.openMonitor(id)
  const pixels = World.noise(monitor.width * monitor.height, seed)
  yield* monitor.show(pixels)
  return { monitor, pixels }
})

/** The same with a keyboard, of which nothing has been pressed. */
const screenWithKeyboard = Effect.fnUntraced(function*(browser: Browser, seed: number, options?: BrowserContextOptions, script?: string) {
  yield* World.showGuests()
  const shown = yield* screenOf(3, "400x300", seed)
  const keyboard = yield* World.openKeyboard(3)
  const page = yield* World.open(browser, yield* World.serve(), options, script)
  return { ...shown, keyboard, page }
})

/** Where the guest's pointer is put next, in hundredths of the screen, and how far the wheel is turned there. */
const nextPlace = Effect.fnUntraced(function*(keyboard: Queue.Dequeue<Event>) {
  while (true) {
    const event = yield* Queue.take(keyboard)
    if (event._tag !== "Position") continue
    const [x, y] = [event.x, event.y].map((value) => Math.round(value / 32_767 * 100))
    return [x, y, event.wheel]
  }
})

/** All keys and buttons that the guest has heard of when it hears of a Q. */
const pressedUntilQ = Effect.fnUntraced(function*(page: Page, keyboard: Queue.Dequeue<Event>) {
  yield* run(() => page.keyboard.press("q"))
  const told: Array<readonly [code: number, pressed: boolean]> = []
  while (true) {
    const event = yield* Queue.take(keyboard)
    if (event._tag !== "Key") continue
    if (event.code === 16) return told
    told.push([event.code, event.pressed])
  }
})

const violations = async (page: Page) => {
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"))
  const found = await page.evaluate(`axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + ": " + nodes.map(({ html }) => html).join(" ")))`)
  return found as ReadonlyArray<string>
}

describe("a browser", () => {
  inXen("shows a guest's pixels, every one, and what has changed since", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      const { monitor, pixels } = yield* screenOf(3, "333x217", 1)
      const page = yield* World.open(browser, yield* World.serve())
      yield* World.shows(page, World.toCanvas(pixels))
      for (const at of [0, 100 * 333 + 64, 333 * 217 - 1]) {
        pixels.set([1, 2, 3, 0], at * 4)
        yield* monitor.show(pixels)
        yield* World.shows(page, World.toCanvas(pixels))
      }
      // Whoever comes late sees all of it.
      const late = yield* World.open(browser, new URL(page.url()))
      yield* World.shows(late, World.toCanvas(pixels))
      yield* monitor.disable
      yield* run(() => page.getByText("guest-3, connector 0 shows nothing now.").waitFor())
    }))

  inXen("shows other formats, and the screen that is chosen", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      const first = yield* screenOf(3, "64x64", 2)
      yield* World.addGuest(4, "other", "70x10")
      const monitor = yield* World.openMonitor(4, PixelFormat.fromCode(PixelFormat.codeOf("RG16")))
      const words = Uint16Array.from({ length: 700 }, (_, i) => [0xf800, 0x07e0, 0x001f, 0xffff][i % 4]!)
      yield* monitor.show(new Uint8Array(words.buffer))
      const page = yield* World.open(browser, yield* World.serve())
      yield* World.shows(page, World.toCanvas(first.pixels))
      yield* run(() => page.getByRole("button", { name: "other" }).click())
      const colours = [[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], [255, 255, 255, 255]]
      const expected = Uint8Array.from(Array.from({ length: 700 }, (_, i) => colours[i % 4]!).flat())
      yield* World.shows(page, expected)
      // Where a guest has gone its viewers wait for it, and see no other.
      const again = yield* World.open(browser, new URL(page.url()))
      yield* World.shows(again, expected)
    }))

  inXen("tells the displays of one guest apart, and keeps in the address which one is looked at", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      const first = yield* screenOf(3, "64x64", 7)
      yield* World.addDisplay(3, 1, "48x32")
      const monitor = yield* World.openMonitor(3, PixelFormat.XR24, 1)
      const pixels = World.noise(48 * 32, 8)
      yield* monitor.show(pixels)
      const page = yield* World.open(browser, yield* World.serve())
      yield* World.shows(page, World.toCanvas(first.pixels))
      const hash = () => new URL(page.url()).hash
      assert.strictEqual(hash(), "#guest-3/0")
      yield* run(() => page.getByRole("button", { name: "guest-3, display 1, connector 0" }).click())
      yield* World.shows(page, World.toCanvas(pixels))
      assert.strictEqual(hash(), "#guest-3/1-0")
      // A bookmark of the other one, and what is left where somebody takes the name out.
      yield* run(() => page.evaluate("location.hash = '#guest-3/0'"))
      yield* World.shows(page, World.toCanvas(first.pixels))
      yield* run(() => page.getByRole("button", { name: "guest-3, display 1, connector 0" }).click())
      yield* run(() => page.evaluate("location.hash = ''"))
      yield* World.shows(page, World.toCanvas(first.pixels))
      assert.strictEqual(hash(), "#guest-3/0")
    }))

  inXen("takes keys, pointer, wheel and touch into the guest, and nothing else", (browser) =>
    Effect.gen(function*() {
      const { keyboard, page } = yield* screenWithKeyboard(browser, 3, { hasTouch: true })
      yield* run(() => page.getByRole("button", { name: "Type into the guest", disabled: false }).waitFor())
      const canvas = page.locator("canvas")
      const key = (code: number, pressed: boolean) => ({ _tag: "Key" as const, pressed, code })
      const next = Queue.take(keyboard)
      yield* run(async () => {
        await page.keyboard.press("b")
        await canvas.focus()
        await page.keyboard.press("Enter")
        await page.keyboard.press("a")
        await page.keyboard.press("Shift+KeyZ")
      })
      assert.deepStrictEqual(yield* Effect.all(Array.from({ length: 6 }, () => next)), [
        key(30, true), key(30, false), key(42, true), key(44, true), key(44, false), key(42, false)
      ])
      yield* run(() => canvas.click({ position: { x: 399, y: 0 }, button: "right" }))
      const corner = { _tag: "Position" as const, x: 32_767, y: 0, wheel: 0 }
      const seen = new Set<string>()
      for (const event of [corner, key(0x111, true), key(0x111, false)]) {
        while (!seen.has(JSON.stringify(event))) seen.add(JSON.stringify(yield* next))
      }
      yield* run(async () => {
        await canvas.hover({ position: { x: 200, y: 150 } })
        await page.mouse.wheel(0, 200)
      })
      for (let wheel = 0; wheel === 0;) {
        const event = yield* next
        if (event._tag === "Position") wheel = event.wheel
        assert.include([0, 2], wheel)
      }
      yield* run(() => canvas.tap({ position: { x: 0, y: 299 } }))
      const touches = yield* Effect.all(Array.from({ length: 4 }, () => next))
      assert.deepStrictEqual(touches, [
        { _tag: "Touch", touch: { _tag: "Down", contact: 0, x: 0, y: 32_767 } },
        { _tag: "Touch", touch: { _tag: "Sync", contact: 0 } },
        { _tag: "Touch", touch: { _tag: "Up", contact: 0 } },
        { _tag: "Touch", touch: { _tag: "Sync", contact: 0 } }
      ])
      // What is held goes up when the person lets go.
      yield* run(async () => {
        await page.keyboard.down("x")
        await page.keyboard.down("Control")
        await page.keyboard.down("Alt")
        await page.keyboard.down("Shift")
        await page.keyboard.press("q")
      })
      const held = yield* Effect.all(Array.from({ length: 6 }, () => next))
      assert.sameDeepMembers(held, [45, 29, 56].flatMap((code) => [key(code, true), key(code, false)]))
      // The button that begins lets go, too.
      yield* run(async () => {
        for (const name of ["x", "Control", "Alt", "Shift"]) await page.keyboard.up(name)
        await page.getByRole("button", { name: "Type into the guest", pressed: false }).click()
        await page.keyboard.down("x")
        await page.getByRole("button", { name: "Type into the guest", pressed: true }).click()
        await page.getByRole("button", { name: "Type into the guest", pressed: false }).waitFor()
      })
      assert.deepStrictEqual(yield* Effect.all([next, next]), [key(45, true), key(45, false)])
      assert.strictEqual(yield* Queue.size(keyboard), 0)
    }))

  inXen("types as from any keyboard where it is a Mac's, which tells less", (browser) =>
    Effect.gen(function*() {
      const userAgent = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/153.0.0.0"
      const { keyboard, page } = yield* screenWithKeyboard(browser, 13, { userAgent })
      yield* run(() => page.getByRole("button", { name: "Type into the guest", disabled: false }).click())
      yield* run(async () => {
        await page.keyboard.down("a")
        await page.keyboard.down("Shift")
        await page.keyboard.down("Meta")
        await page.keyboard.down("c")
        await page.keyboard.up("Meta")
        await page.keyboard.up("Shift")
        // On, and off.
        await page.keyboard.down("CapsLock")
        await page.keyboard.up("CapsLock")
      })
      const [a, c, capsLock, meta, shift] = [30, 46, 58, 125, 42]
      assert.deepStrictEqual(yield* pressedUntilQ(page, keyboard), [
        [a, true], [shift, true], [meta, true], [c, true], [c, false], [a, false], [meta, false], [shift, false],
        [capsLock, true], [capsLock, false], [capsLock, true], [capsLock, false]
      ])
    }))

  inXen("presses several buttons of a mouse at once, but not the one that begins, and turns its wheel", (browser) =>
    Effect.gen(function*() {
      const { keyboard, page } = yield* screenWithKeyboard(browser, 12)
      yield* run(() => page.getByRole("button", { name: "Type into the guest", disabled: false }).waitFor())
      const { mouse } = page
      const [left, right, middle] = [0x110, 0x111, 0x112]
      yield* run(async () => {
        await page.locator("canvas").hover()
        await mouse.down()
        await mouse.wheel(0, 100)
      })
      // Where the pointer is, though it has not moved since.
      assert.deepStrictEqual([yield* nextPlace(keyboard), yield* nextPlace(keyboard)], [[50, 50, 0], [50, 50, 1]])
      yield* run(async () => {
        await mouse.down({ button: "right" })
        await mouse.up()
        await mouse.down()
        await mouse.down({ button: "middle" })
        await mouse.up({ button: "right" })
        // Outside of the picture, too.
        await mouse.move(0, 0)
        await mouse.up()
        await mouse.up({ button: "middle" })
      })
      assert.deepStrictEqual(yield* pressedUntilQ(page, keyboard), [
        [right, true], [left, true], [middle, true], [right, false], [left, false], [middle, false]
      ])
    }))

  inXen("points at the right pixel before the first picture has come, and the first of another size", (browser) =>
    Effect.gen(function*() {
      const { keyboard, monitor, page } = yield* screenWithKeyboard(browser, 10, {}, World.withoutPictures)
      yield* run(() => page.getByRole("button", { name: "Type into the guest", disabled: false }).click())
      const pointsAtTheMiddle = Effect.gen(function*() {
        yield* run(() => page.locator("canvas").hover())
        assert.deepStrictEqual(yield* nextPlace(keyboard), [50, 50, 0])
      })
      yield* pointsAtTheMiddle
      yield* monitor.configure({ width: 200, height: 250 })
      yield* run(() => page.getByText("200 × 250").waitFor())
      yield* run(() => page.mouse.move(0, 0))
      yield* pointsAtTheMiddle
    }))

  inXen("confirms nothing that comes after a picture before it has drawn that", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      yield* screenOf(3, "100x100", 13)
      // Asked for a second time, an expression is evaluated by the page itself, whose policy does not let it.
      const page = yield* World.open(browser, yield* World.serve(), { bypassCSP: true }, World.neverUnpacked)
      yield* run(() => page.waitForFunction(`said.includes("picture")`))
      yield* screenOf(4, "100x100", 14)
      yield* run(() => page.getByRole("button", { name: "guest-4" }).waitFor())
      assert.deepStrictEqual(yield* run(() => page.evaluate(`said.slice(said.indexOf("picture"))`)), ["picture"])
    }))

  inXen("wakes a screen that shows nothing, and goes on typing", (browser) =>
    Effect.gen(function*() {
      const { keyboard, monitor, page, pixels } = yield* screenWithKeyboard(browser, 11)
      const canvas = page.locator("canvas")
      yield* World.shows(page, World.toCanvas(pixels))
      yield* run(() => page.getByRole("button", { name: "Type into the guest", disabled: false }).click())
      const types = Effect.fnUntraced(function*(key: string, code: number) {
        yield* run(() => page.keyboard.press(key))
        const [down, up] = [yield* Queue.take(keyboard), yield* Queue.take(keyboard)]
        assert.deepStrictEqual([down, up], [true, false].map((pressed) => ({ _tag: "Key", pressed, code })))
      })
      yield* types("a", 30)
      yield* monitor.disable
      yield* run(() => page.getByText("guest-3, connector 0 shows nothing now.").waitFor())
      yield* World.shows(page, World.toCanvas(new Uint8Array(pixels.length)))
      assert.isTrue(yield* run(() => page.getByRole("button", { name: "Screenshot" }).isDisabled()))
      yield* run(() => canvas.hover())
      assert.deepStrictEqual(yield* nextPlace(keyboard), [50, 50, 0])
      yield* types("b", 48)
      // Nor does who comes now know what size it had.
      const late = yield* World.open(browser, new URL(page.url()))
      yield* run(() => late.getByRole("button", { name: "Type into the guest", disabled: false }).click())
      yield* run(() => late.locator("canvas").hover())
      assert.deepStrictEqual(yield* nextPlace(keyboard), [50, 50, 0])
      yield* monitor.configure(monitor)
      yield* World.shows(page, World.toCanvas(pixels))
      assert.strictEqual(yield* run(() => canvas.getAttribute("data-grabbed")), "true")
    }))

  inXen("is looked at here without a change to it, before it has drawn, too", (browser) =>
    Effect.gen(function*() {
      const page = yield* World.open(browser, yield* World.serve())
      const fresh = `Object.assign(document.createElement("canvas"), { id: "fresh", width: 1, height: 1 })`
      yield* run(() => page.evaluate(`document.body.prepend(${fresh})`))
      yield* World.shows(page, Uint8Array.of(0, 0, 0, 0))
      yield* run(() => page.evaluate(`document.querySelector("#fresh").getContext("2d", { alpha: false }).clearRect(0, 0, 1, 1)`))
      yield* World.shows(page, Uint8Array.of(0, 0, 0, 255))
    }))

  inXen("takes several fingers at once into the guest, each as one of its own", (browser) =>
    Effect.gen(function*() {
      const { keyboard, page } = yield* screenWithKeyboard(browser, 9, { hasTouch: true })
      yield* run(() => page.getByRole("button", { name: "Type into the guest", disabled: false }).click())
      const box = yield* run(() => page.locator("canvas").boundingBox())
      const { height, width, x: left, y: top } = box!
      const at = (id: number, x: number, y: number) => ({ id, x: left + x * (width - 1), y: top + y * (height - 1) })
      // An end names the fingers that are lifted, or none for all.
      const session = yield* run(() => page.context().newCDPSession(page))
      const touch = (type: "touchStart" | "touchMove" | "touchEnd", ...touchPoints: ReadonlyArray<ReturnType<typeof at>>) =>
        run(() => session.send("Input.dispatchTouchEvent", { type, touchPoints: [...touchPoints] }))
      yield* touch("touchStart", at(0, 0, 0))
      yield* touch("touchStart", at(0, 0, 0), at(1, 1, 1))
      yield* touch("touchMove", at(0, 0, 0), at(1, 1, 0))
      yield* touch("touchEnd", at(0, 0, 0))
      // The first one's number is free again.
      yield* touch("touchStart", at(1, 1, 0), at(2, 0, 1))
      yield* touch("touchEnd")
      const far = 32_767
      const found: Array<string> = []
      while (found.length < 7) {
        const event = yield* Queue.take(keyboard)
        if (event._tag !== "Touch" || event.touch._tag === "Sync") continue
        const { contact } = event.touch
        found.push([contact, event.touch._tag, ..."x" in event.touch ? [event.touch.x, event.touch.y] : []].join(" "))
      }
      assert.deepStrictEqual(found.slice(0, 5), [
        "0 Down 0 0",
        `1 Down ${far} ${far}`,
        `1 Motion ${far} 0`,
        "0 Up",
        `0 Down 0 ${far}`
      ])
      assert.sameMembers(found.slice(5), ["0 Up", "1 Up"])
    }))

  inXen("comes back by itself when the connection was lost, and shows all", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      const { monitor, pixels } = yield* screenOf(3, "200x100", 4)
      const first = yield* Scope.make()
      const url = yield* Scope.provide(World.serve(), first)
      const page = yield* World.open(browser, url)
      yield* World.shows(page, World.toCanvas(pixels))
      yield* Scope.close(first, Exit.void)
      yield* run(() => page.getByText("Connection lost, trying again …").waitFor())
      pixels.fill(0x77)
      yield* monitor.show(pixels)
      yield* World.serve({ port: Number(url.port) })
      yield* World.shows(page, World.toCanvas(pixels))
      yield* run(() => page.getByText("Connected", { exact: true }).waitFor())
    }))

  inXen("types nothing where viewers only look", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      yield* screenOf(3, "64x64", 5)
      const keyboard = yield* World.openKeyboard(3)
      const url = yield* World.serve({ viewOnly: true, token: "secret", path: "/some/where" })
      const page = yield* World.open(browser, url)
      yield* run(() => page.locator("canvas:not([hidden])").waitFor())
      assert.isTrue(yield* run(() => page.getByRole("button", { name: "Type into the guest" }).isDisabled()))
      yield* run(async () => {
        await page.locator("canvas").click()
        await page.keyboard.press("a")
      })
      assert.strictEqual(yield* run(() => page.locator("canvas").getAttribute("data-grabbed")), null)
      assert.strictEqual(yield* Queue.size(keyboard), 0)
    }))

  inXen("has a page for everybody, on a phone, too", (browser) =>
    Effect.gen(function*() {
      yield* World.showGuests()
      const { pixels } = yield* screenOf(3, "800x600", 6)
      const url = yield* World.serve()
      for (const viewport of [{ width: 1280, height: 900 }, { width: 360, height: 740 }]) {
        const page = yield* World.open(browser, url, { viewport })
        yield* World.shows(page, World.toCanvas(pixels))
        assert.deepStrictEqual(yield* run(() => violations(page)), [])
        const [inner, scroll] = yield* run(() =>
          page.evaluate<[number, number]>("[innerWidth, document.documentElement.scrollWidth]")
        )
        assert.isAtMost(scroll, inner)
        const box = yield* run(() => page.locator("canvas").boundingBox())
        assert.isAtMost(box!.width, inner)
        assert.approximately(box!.width / box!.height, 800 / 600, 0.02)
      }
    }))
})
