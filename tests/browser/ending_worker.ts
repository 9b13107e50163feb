// A worker that can end without a word to its parent.

import "../../worker.ts";

const close = self.close.bind(self);
Object.assign(globalThis, { end: () => close() });
