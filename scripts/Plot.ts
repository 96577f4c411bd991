/**
 * Draws what was measured during a long run as an SVG: one small chart a measure, each from 0, so that flat looks flat.
 */
import * as echarts from "echarts"

/** A measure after each part of the run, and how its values are to be read. */
export interface Measure {
  readonly name: string
  readonly values: ReadonlyArray<number>
  readonly show: (value: number) => string
}

const width = 720
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

/** The charts of all measures over the cycles of the run, below a title. */
export const svg = (title: string, cycles: ReadonlyArray<number>, measures: ReadonlyArray<Measure>): string => {
  const charts = measures.map((measure, index) => chart(cycles, measure, index))
  const height = 80 + Math.ceil(measures.length / columns) * rowHeight
  const drawing = echarts.init(null, null, { renderer: "svg", ssr: true, width, height })
  drawing.setOption({
    animation: false,
    backgroundColor: "#fff",
    title: [{ text: title, left: 20, top: 10, textStyle: { fontSize: 14 } }, ...charts.map(({ title }) => title)],
    grid: charts.map(({ grid }) => grid),
    xAxis: charts.map(({ xAxis }) => xAxis),
    yAxis: charts.map(({ yAxis }) => yAxis),
    series: charts.map(({ series }) => series)
  })
  const text = drawing.renderToSVGString()
  drawing.dispose()
  return text
}
