/** Says what is wrong with a page directory, and at which place. */
export * as DirectoryError from "./DirectoryError.ts"
/** Names a Xen domain. */
export * as DomainId from "./DomainId.ts"
/** Ends what a peer may have mapped: with its consent, or after a time without it. */
export * as Ending from "./Ending.ts"
/** Names one granted page. */
export * as GrantRef from "./GrantRef.ts"
/** Shares pages with other domains and maps theirs: the service that everything else is built on. */
export * as GrantTable from "./GrantTable.ts"
/** Says why a grant table refused. */
export * as GrantTableError from "./GrantTableError.ts"
/** Counts pages. */
export * as Page from "./Page.ts"
/** Lays out grant references on a chain of pages, and reads them back. */
export * as PageDirectory from "./PageDirectory.ts"
/** Uses a buffer that a frontend shares: the backend's half. */
export * as PeerBuffer from "./PeerBuffer.ts"
/** Shares a buffer with a backend: the frontend's half. */
export * as SharedBuffer from "./SharedBuffer.ts"
