/** Serves the devices of a type: the backend's half. */
export * as Backend from "./Backend.ts"
/** Says why a device is not connected, or not any more. */
export * as ConnectionError from "./ConnectionError.ts"
/** Reads the nodes of a device. */
export * as Device from "./Device.ts"
/** Passes events of one size through a shared page, from backend to frontend. */
export * as EventPage from "./EventPage.ts"
/** Connects a device: the frontend's half. */
export * as Frontend from "./Frontend.ts"
/** The only loads and stores of what announces something in shared memory. */
export * as Ordered from "./Ordered.ts"
/** An index in shared memory that the peer writes. */
export * as PeerIndex from "./PeerIndex.ts"
/** Passes requests and responses through shared pages, as io/ring.h lays them out. */
export * as Ring from "./Ring.ts"
/** Says which index of a peer can't be. */
export * as RingError from "./RingError.ts"
/** Creates and removes devices, for protocols that `xl` does not know. */
export * as Toolstack from "./Toolstack.ts"
/** Names the states that the two halves of a device go through. */
export * as XenbusState from "./XenbusState.ts"
