/** Passes events of one size through a shared page, from backend to frontend. */
export * as EventPage from "./EventPage.ts"
/** Passes requests and responses through shared pages, as io/ring.h lays them out. */
export * as Ring from "./Ring.ts"
/** Says which index of a peer can't be. */
export * as RingError from "./RingError.ts"
