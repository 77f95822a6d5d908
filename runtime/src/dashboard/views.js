// The views, in the order of the menu. A new view is one file, and one line here.
import { overview } from "./views/overview.js";
import { requests } from "./views/requests.js";
import { deliveries } from "./views/deliveries.js";
import { dead } from "./views/dead.js";
import { origins } from "./views/origins.js";
import { tryIt } from "./views/try.js";
import { nodes } from "./views/nodes.js";
import { schedules } from "./views/schedules.js";
import { tokens } from "./views/tokens.js";
import { audit } from "./views/audit.js";
import { settings } from "./views/settings.js";

export const views = [overview, requests, deliveries, dead, origins, tryIt, schedules, tokens, nodes, audit, settings];
