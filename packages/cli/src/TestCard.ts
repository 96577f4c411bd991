/**
 * Draws a test card: a picture on which a wrong size, order or colour shows at once.
 *
 * Its background shows the pages that carry it: neighbouring pages differ in brightness, and the colour changes where
 * the next page of the directory begins.
 *
 * @since 0.1.0
 */
import * as Chain from "@xen-shbuf/core/Chain"
import * as Page from "@xen-shbuf/core/Page"
import { Canvas, clamp, mix } from "./internal/Canvas.ts"
import { rows } from "./internal/Glyphs.ts"

/**
 * Bytes of a pixel in XR24, the format that display frontends share (fourcc of XRGB8888): blue, green, red, unused.
 *
 * @category constants
 * @since 0.1.0
 */
export const bytesPerPixel = 4

const pixelsPerPage = Page.size / bytesPerPixel

/** Background colours, one for each page of the directory, then from the start again. */
const sheets = [0x14_1c_3a, 0x0c_33_3a, 0x33_1a_3c, 0x1c_33_1f] as const
const bars = [0xff_ff_ff, 0xff_d2_3f, 0x2e_c4_d6, 0x3f_c3_52, 0xd1_4f_c4, 0xe5_3d_3d, 0x2f_5b_e0, 0x10_10_10] as const
const ivory = 0xf4_f1_e8
const black = 0x0b_0d_14

/** Fills the picture with the pages that carry it. */
const drawPages = ({ pixels }: Canvas) => {
  for (let page = 0; page * pixelsPerPage < pixels.length; page++) {
    const sheet = sheets[Math.floor(page / Chain.refsPerPage) % sheets.length]!
    const colour = page % 2 === 0 ? sheet : mix(sheet, ivory, 0.035)
    pixels.fill(colour, page * pixelsPerPage, (page + 1) * pixelsPerPage)
  }
}

/** Square fields, so that a stretched picture shows. */
const drawGrid = (canvas: Canvas, field: number, line: number) => {
  const { height, pixels, width } = canvas
  const faint = (from: number, to: number, step: number) => {
    for (let at = from; at < to; at += step) pixels[at] = mix(pixels[at]!, ivory, 0.22)
  }
  const lines = (centre: number, end: number, draw: (at: number) => void) => {
    for (let at = centre % field; at < end; at += field) {
      for (let i = 0; i < line; i++) draw(clamp(Math.round(at - line / 2) + i, end - 1))
    }
  }
  lines(height / 2, height, (y) => faint(y * width, (y + 1) * width, 1))
  lines(width / 2, width, (x) => faint(x, pixels.length, width))
}

/** A frame of black and white, so that a cropped picture shows. */
const drawFrame = (canvas: Canvas, field: number, thickness: number) => {
  const { height, width } = canvas
  for (let i = 0; i * field < width; i++) {
    const colour = i % 2 === 0 ? ivory : black
    canvas.rect(i * field, 0, field, thickness, colour)
    canvas.rect(width - (i + 1) * field, height - thickness, field, thickness, colour)
  }
  for (let i = 0; i * field < height; i++) {
    const colour = i % 2 === 0 ? ivory : black
    canvas.rect(0, height - (i + 1) * field, thickness, field, colour)
    canvas.rect(width - thickness, i * field, thickness, field, colour)
  }
}

/** The lines where the next page of the directory begins, with their names. */
const drawDirectory = (canvas: Canvas, unit: number, scale: number) => {
  const pages = Math.ceil(canvas.pixels.length / pixelsPerPage)
  for (let part = 1; part < Chain.pagesFor(pages); part++) {
    const at = part * Chain.refsPerPage * pixelsPerPage
    const y = Math.floor(at / canvas.width)
    canvas.pixels.fill(ivory, at, at + canvas.width)
    canvas.text(`directory page ${part - 1}`, { x: 36 * unit, y: y - (rows + 2) * scale }, scale, ivory)
    canvas.text(`directory page ${part}`, { x: 36 * unit, y: y + 4 * scale }, scale, ivory)
  }
}

/** The disc in the middle: colour bars, the name, grey ramp, fine lines, the size. */
const drawDisc = (canvas: Canvas, unit: number) => {
  const { height, width } = canvas
  const centre = { x: width / 2, y: height / 2 }
  const radius = 470 * unit
  const along = (x: number) => clamp((x - centre.x + radius) / (2 * radius), 1)
  const grey = (x: number) => mix(black, 0xff_ff_ff, along(x))
  // From left to right 32, 16, 8, 4, 2 and 1 pixels wide: the last ones blur when the picture is scaled.
  const fineLines = (x: number) => {
    const stripe = Math.max(1, 32 >> Math.floor(along(x) * 6))
    return Math.floor(x / stripe) % 2 === 0 ? ivory : black
  }
  canvas.band(centre, radius, -1, -0.62, black)
  canvas.band(centre, radius, -0.62, -0.22, (x) => bars[Math.min(bars.length - 1, Math.floor(along(x) * bars.length))]!)
  canvas.band(centre, radius, -0.22, 0.22, black)
  canvas.band(centre, radius, 0.22, 0.42, grey)
  canvas.band(centre, radius, 0.42, 0.62, fineLines)
  canvas.band(centre, radius, 0.62, 1, black)
  canvas.ring(centre, radius, 6 * unit, ivory)

  const big = Math.round(15 * unit)
  const small = Math.round(4 * unit)
  if (small < 1) return
  const line = (text: string, y: number, scale: number) =>
    canvas.text(text, { x: centre.x, y: centre.y + y * unit - rows * scale / 2 }, scale, ivory, 0.5)
  line("xen-shbuf", 8, big)
  line(`${width}×${height}`, -352, small + 1)
  line(`${Math.ceil(canvas.pixels.length / pixelsPerPage)} pages`, 352, small + 1)
}

/**
 * A frame of `width` × `height` pixels in XR24, the same bytes everywhere for the same size.
 *
 * @category constructors
 * @since 0.1.0
 */
export const draw = (width: number, height: number): Uint8Array => {
  const canvas = new Canvas(width, height)
  const unit = Math.min(width / 1920, height / 1080)
  drawPages(canvas)
  drawGrid(canvas, Math.max(8, 120 * unit), Math.max(1, Math.round(2 * unit)))
  drawDirectory(canvas, unit, Math.max(1, Math.round(3 * unit)))
  drawDisc(canvas, unit)
  drawFrame(canvas, Math.max(8, 60 * unit), Math.max(1, Math.round(18 * unit)))
  return new Uint8Array(canvas.pixels.buffer)
}
