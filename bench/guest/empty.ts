/**
 * Does nothing: how long Node itself takes to start.
 */
const evaluated = Number(process.hrtime.bigint())
process.stdout.write(`${JSON.stringify({ mapped: evaluated })}\n`)
