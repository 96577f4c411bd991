/** Puts the commands together, and runs them. */
export * as Cli from "./Cli.ts"
/** Computes the SHA-256 of shared bytes. */
export * as Digest from "./Digest.ts"
/** Tells why a command failed. */
export * as Failure from "./Failure.ts"
/** Writes what a screen shows as a film. */
export * as Film from "./Film.ts"
/** Reads the flags that several commands have. */
export * as Flags from "./Flags.ts"
/** Runs a program as the process that it is. */
export * as Main from "./Main.ts"
/** Prints what happens. */
export * as Output from "./Output.ts"
/** Fills buffers with contents that both sides know. */
export * as Pattern from "./Pattern.ts"
/** Turns a shared frame into a PNG. */
export * as Png from "./Png.ts"
/** Shortens lists of numbers for people. */
export * as Runs from "./Runs.ts"
/** Draws a test card. */
export * as TestCard from "./TestCard.ts"
