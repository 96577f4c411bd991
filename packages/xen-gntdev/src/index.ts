/** Provides the grant table of a Linux domain through its devices. */
export * as GntDev from "./GntDev.ts"

/** Tells beforehand whether this machine can share and map pages. */
export * as Preflight from "./Preflight.ts"
