/** Passes events of one size through a shared page, from backend to frontend. */
export * as EventPage from "./EventPage.ts"
/** The only loads and stores of what announces something in shared memory. */
export * as Ordered from "./Ordered.ts"
/** An index in shared memory that the peer writes. */
export * as PeerIndex from "./PeerIndex.ts"
/** Passes requests and responses through shared pages, as io/ring.h lays them out. */
export * as Ring from "./Ring.ts"
/** Says which index of a peer can't be. */
export * as RingError from "./RingError.ts"
