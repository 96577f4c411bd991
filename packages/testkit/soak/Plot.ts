/**
 * Draws samples as an SVG: one small chart a measure, each from 0, so that flat looks flat.
 */
import * as echarts from "echarts"
import { type Measure, measures, type Sample, show } from "./Sample.ts"

const width = 720
const rowHeight = 170
const columns = 2

/** What belongs to one measure: its heading with the first and the last value, its axes and its line. */
const chart = (samples: ReadonlyArray<Sample>, measure: Measure, index: number) => {
  const left = 70 + (index % columns) * (width / columns)
  const top = 80 + Math.floor(index / columns) * rowHeight
  const [first, last] = [samples[0]!, samples.at(-1)!].map((sample) => show(measure, sample[measure]))
  const axis = { gridIndex: index, min: 0, splitNumber: 3, axisLabel: { fontSize: 9 } }
  return {
    title: { text: `${measure}: ${first} → ${last}`, left, top: top - 25, textStyle: { fontSize: 12 } },
    grid: { left, top, width: width / columns - 110, height: rowHeight - 80 },
    xAxis: { ...axis, type: "value" as const, max: samples.at(-1)!.cycles },
    yAxis: { ...axis, type: "value" as const, axisLabel: { ...axis.axisLabel, formatter: (y: number) => show(measure, y) } },
    series: {
      type: "line" as const,
      xAxisIndex: index,
      yAxisIndex: index,
      data: samples.map((sample) => [sample.cycles, sample[measure]])
    }
  }
}

/** The charts of all measures, below a title. */
export const svg = (title: string, samples: ReadonlyArray<Sample>): string => {
  const charts = measures.map((measure, index) => chart(samples, measure, index))
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
