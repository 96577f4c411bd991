/**
 * Draws curves over pages as an SVG: medians with a band of quartiles, targets dashed.
 */
import * as echarts from "echarts"
import type { Spread } from "./Measure.ts"

/** A median at some number of pages, with its quartiles where they are known. */
export interface Point extends Partial<Omit<Spread, "median">> {
  readonly pages: number
  readonly median: number
}

export interface Curve {
  readonly name: string
  readonly points: ReadonlyArray<Point>
}

export interface Plot {
  /** The last part of the file's name. */
  readonly name: string
  /** Says what is drawn upwards, and over what. */
  readonly title: string
  readonly curves: ReadonlyArray<Curve>
  /** What was aimed at, from some number of pages to another. */
  readonly targets?: ReadonlyArray<{ readonly from: number; readonly to: number; readonly value: number }> | undefined
  readonly show: (value: number) => string
  /** A logarithmic axis upwards; otherwise it begins with 0. */
  readonly log?: boolean | undefined
}

const [width, height] = [720, 380]
const colors = ["#1f6fb4", "#d1741a", "#3c8f50", "#8a55b5", "#b03a48"]
const ink = "#444"

const bandOf = ({ points }: Curve) => {
  const edge = (key: "low" | "high") => points.map((point) => [point.pages, point[key] ?? point.median])
  return [...edge("high"), ...edge("low").toReversed()]
}

const band = (curve: Curve, color: string): echarts.CustomSeriesOption => {
  const corners = bandOf(curve)
  return {
    type: "custom",
    silent: true,
    // All corners, so that the axes reach that far; all of them are one shape, drawn for the first.
    data: corners,
    renderItem: ({ dataIndex }, api) =>
      dataIndex === 0
        ? {
          type: "polygon",
          shape: { points: corners.map((corner) => api.coord(corner)) },
          style: { fill: color, opacity: 0.15 }
        }
        : undefined
  }
}

const line = ({ name, points }: Curve, color: string): echarts.LineSeriesOption => ({
  type: "line",
  name,
  data: points.map(({ median, pages }) => [pages, median]),
  symbol: "circle",
  symbolSize: 5,
  color
})

export const svg = ({ curves, log = false, show, targets = [], title }: Plot): string => {
  const pages = curves.flatMap((curve) => curve.points.map((point) => point.pages))
  const drawing = echarts.init(null, null, { renderer: "svg", ssr: true, width, height })
  drawing.setOption({
    animation: false,
    backgroundColor: "#fff",
    title: { text: title, left: 20, top: 12, textStyle: { fontSize: 14, fontWeight: "normal", color: ink } },
    legend: {
      left: 18,
      top: 38,
      itemWidth: 30,
      itemGap: 40,
      textStyle: { color: ink },
      data: [...curves.map(({ name }) => name), ...targets.length > 0 ? ["target"] : []]
    },
    grid: { left: 65, right: 35, top: 80, bottom: 45 },
    xAxis: {
      type: "log",
      logBase: 4,
      min: Math.min(...pages),
      max: Math.max(...pages),
      name: "pages",
      nameLocation: "middle",
      nameGap: 28,
      axisLabel: { formatter: String },
      splitLine: { show: false }
    },
    yAxis: {
      type: log ? "log" : "value",
      axisLabel: { formatter: show },
      splitLine: { lineStyle: { color: "#eee" } }
    },
    series: [
      ...curves.map((curve, i) => band(curve, colors[i]!)),
      ...curves.map((curve, i) => line(curve, colors[i]!)),
      ...targets.map(({ from, to, value }): echarts.LineSeriesOption => ({
        type: "line",
        name: "target",
        data: [[from, value], [to, value]],
        symbol: from === to ? "diamond" : "none",
        color: ink,
        lineStyle: { type: "dashed", width: 1.5 }
      }))
    ]
  })
  const text = drawing.renderToSVGString()
  drawing.dispose()
  return text
}
