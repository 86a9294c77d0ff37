// The step is done: tell the page that waits for it, and close the window that was opened for it.
"use strict";
new BroadcastChannel("gw-step").postMessage("done");
window.close();
