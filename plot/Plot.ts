/**
 * Draws what was measured as an SVG: curves over pages, or the measures of a long run.
 */
import * as echarts from "echarts"

/** A measure after each part of the run, and how its values are to be read. */
export interface Measure {
  readonly name: string
  readonly values: ReadonlyArray<number>
  readonly show: (value: number) => string
}

const width = 720

/** An SVG of this height. */
const drawn = (height: number, option: echarts.EChartsOption): string => {
  const drawing = echarts.init(null, null, { renderer: "svg", ssr: true, width, height })
  drawing.setOption({ animation: false, backgroundColor: "#fff", ...option })
  const text = drawing.renderToSVGString()
  drawing.dispose()
  return text
}

const rowHeight = 170
const columns = 2

/** What belongs to one measure: its heading with the first and the last value, its axes and its line. */
const chart = (cycles: ReadonlyArray<number>, { name, show, values }: Measure, index: number) => {
  const left = 70 + (index % columns) * (width / columns)
  const top = 80 + Math.floor(index / columns) * rowHeight
  const axis = { gridIndex: index, min: 0, splitNumber: 3, axisLabel: { fontSize: 9 } }
  const text = `${name}: ${show(values[0]!)} → ${show(values.at(-1)!)}`
  return {
    title: { text, left, top: top - 25, textStyle: { fontSize: 12 } },
    grid: { left, top, width: width / columns - 110, height: rowHeight - 80 },
    xAxis: { ...axis, type: "value" as const, max: cycles.at(-1)! },
    yAxis: { ...axis, type: "value" as const, axisLabel: { ...axis.axisLabel, formatter: show } },
    series: {
      type: "line" as const,
      xAxisIndex: index,
      yAxisIndex: index,
      data: values.map((value, i) => [cycles[i]!, value])
    }
  }
}

/**
 * One small chart for each measure of a long run over its cycles, below a title; each from 0, so that flat looks flat.
 */
export const run = (title: string, cycles: ReadonlyArray<number>, measures: ReadonlyArray<Measure>): string => {
  const charts = measures.map((measure, index) => chart(cycles, measure, index))
  const height = 80 + Math.ceil(measures.length / columns) * rowHeight
  return drawn(height, {
    title: [{ text: title, left: 20, top: 10, textStyle: { fontSize: 14 } }, ...charts.map(({ title }) => title)],
    grid: charts.map(({ grid }) => grid),
    xAxis: charts.map(({ xAxis }) => xAxis),
    yAxis: charts.map(({ yAxis }) => yAxis),
    series: charts.map(({ series }) => series)
  })
}

/** A median at some number of pages, with its quartiles where they are known. */
export interface Point {
  readonly pages: number
  readonly median: number
  readonly low?: number | undefined
  readonly high?: number | undefined
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

/** Medians with a band of quartiles, targets dashed. */
export const curves = ({ curves, log = false, show, targets = [], title }: Plot): string => {
  const pages = curves.flatMap((curve) => curve.points.map((point) => point.pages))
  return drawn(380, {
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
}
