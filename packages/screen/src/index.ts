/** Reads the files of the page, or builds them. */
export * as Assets from "./Assets.ts"
/** Packs the pixels of tiles for their way to a page. */
export * as Encoding from "./Encoding.ts"
/** Puts what guests show on screens. */
export * as Guests from "./Guests.ts"
/** Tells which key of Linux's a key of a browser is. */
export * as Keys from "./Keys.ts"
/** Serves the sound of one page. */
export * as Listener from "./Listener.ts"
/** Reads what a page says about sound. */
export * as PageMessage from "./PageMessage.ts"
/** Keeps a copy of what a screen shows, and knows what of it has changed. */
export * as Picture from "./Picture.ts"
/** Knows the screens that there are. */
export * as Screens from "./Screens.ts"
/** Serves the page and its sockets over HTTP. */
export * as Server from "./Server.ts"
/** Knows the streams of guests' sound cards. */
export * as Sounds from "./Sounds.ts"
/** What server and page say to each other about sound. */
export * as SoundWire from "./SoundWire.ts"
/** Serves one page. */
export * as Viewer from "./Viewer.ts"
/** Reads what a page says. */
export * as ViewerMessage from "./ViewerMessage.ts"
/** What server and page say to each other. */
export * as Wire from "./Wire.ts"
