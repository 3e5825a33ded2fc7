// For whoever starts the sources by hand: `server.js` is the same and starts faster.
import './server.js'
