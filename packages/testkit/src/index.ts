/** Names the two parties that laws are about. */
export * as Domains from "./Domains.ts"
/** Disturbs a program at every step. */
export * as Exploration from "./Exploration.ts"
/** Makes a grant table misbehave. */
export * as Faults from "./Faults.ts"
/** Is a grant table that does nothing. */
export * as FixedTable from "./FixedTable.ts"
/** Generates words of the field, directories sound and hostile. */
export * as Generators from "./Generators.ts"
/** States what must hold of every grant table. */
export * as GrantTableLaws from "./GrantTableLaws.ts"
/** States what must hold of anything, as data. */
export * as Law from "./Law.ts"
/** Finds what a test has left behind, and says who made it. */
export * as Ledger from "./Ledger.ts"
/** States what must hold of a peer's buffer. */
export * as PeerBufferLaws from "./PeerBufferLaws.ts"
/** States what must hold of a shared buffer. */
export * as SharedBufferLaws from "./SharedBufferLaws.ts"
/** Lets laws run on the in-memory Xen. */
export * as TestDomains from "./TestDomains.ts"
/** Runs a Xen in memory. */
export * as TestXen from "./TestXen.ts"
/** What must hold of all event channels. */
export * as EventChannelLaws from "./EventChannelLaws.ts"
/** What must hold of xenstore, as any domain sees it. */
export * as XenStoreLaws from "./XenStoreLaws.ts"
