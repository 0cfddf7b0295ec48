import { Kind, parse } from "graphql";
import { createClient } from "graphql-sse";
import { ask, headers, stayedSignedIn } from "./session.js";

/* Asks by POST; what is subscribed to comes as server-sent events, with the same headers. */
export function fetcher(params, options = {}) {
  const { operation, name } = chosen(params);
  const asked = { ...params, operationName: name };
  return operation === "subscription" ? told(asked, options.headers) : ask(asked, options.headers);
}

/* GraphiQL learns a moment late what is in another tab: a name that is not there is none. */
function chosen({ query, operationName }) {
  const operations = operationsOf(query);
  const found = operations.find(({ name }) => name === operationName);
  return found ?? (operations.length === 1 ? operations[0] : { name: operationName });
}

function operationsOf(query) {
  try {
    const found = parse(query).definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION);
    return found.map(({ operation, name }) => ({ operation, name: name?.value }));
  } catch {
    return []; // Whoever answers says what is wrong with it.
  }
}

async function* told(params, given) {
  await stayedSignedIn();
  const client = createClient({ url: location.origin + location.pathname, headers: headers(given), retryAttempts: 0 });
  try {
    yield* client.iterate(params);
  } catch (error) {
    throw await refusal(error);
  } finally {
    client.dispose();
  }
}

/* What is refused before anything is told comes as an ordinary answer. */
async function refusal(error) {
  const body = await error.response?.json().catch(() => null);
  return body?.errors ? new Error(body.errors.map(({ message }) => message).join(" ")) : error;
}
