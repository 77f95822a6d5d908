// Finds what has an id, or an id that begins with this text.
import { call } from "./shared/dom.js";

// Returns the address of the view, or null if nothing has the id.
export async function find(id) {
  const { items } = await call("GET", `api/requests?${new URLSearchParams({ id, limit: 2 })}`);
  if (items.length === 1 || items.some((item) => item.id === id)) {
    return `requests/${encodeURIComponent(items.length === 1 ? items[0].id : id)}`;
  }
  if (items.length > 1) return `requests?id=${encodeURIComponent(id)}`;
  try {
    const delivery = await call("GET", `api/deliveries/${encodeURIComponent(id)}`);
    return `deliveries/${encodeURIComponent(delivery.id)}`;
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}
