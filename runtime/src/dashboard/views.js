// The views, in the order of the menu. A new view is one file, and one line here.
import { overview } from "./views/overview.js";
import { requests } from "./views/requests.js";
import { deliveries } from "./views/deliveries.js";
import { dead } from "./views/dead.js";

export const views = [overview, requests, deliveries, dead];
