/* Who asks, and in which store. Kept for as long as the browser's tab is open, and not beyond it. */

const KEPT = "mercato-graphql";
const NOBODY = { store: "default" };
const SOON_MS = 30_000;
const USER = "user { email fullName role tenantId }";

const listeners = new Set();
let session = kept();
let refreshing = null;

function kept() {
  try {
    return { ...NOBODY, ...JSON.parse(sessionStorage.getItem(KEPT)) };
  } catch {
    return NOBODY;
  }
}

function become(next) {
  session = next;
  sessionStorage.setItem(KEPT, JSON.stringify(next));
  for (const listener of listeners) listener();
}

export function current() {
  return session;
}

export function watch(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/* A token says its store by itself; only operators and machines name another with it. */
export function namesStore() {
  return !session.user || session.user.role === "operator";
}

export function actIn(store) {
  become({ ...session, store: store.trim() || NOBODY.store });
}

/* Headers of the one who asks, which those of the headers editor win over. */
export function headers(given = {}) {
  const named = new Set(Object.keys(given).map((name) => name.toLowerCase()));
  const own = { "X-Tenant-Id": session.store };
  if (session.token) own.Authorization = `Bearer ${session.token}`;
  return { ...Object.fromEntries(Object.entries(own).filter(([name]) => !named.has(name.toLowerCase()))), ...given };
}

export async function ask(params, given) {
  await stayedSignedIn();
  return send(params, headers(given));
}

async function send(params, sent) {
  const token = session.token;
  const answer = await fetch(location.pathname, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: "application/graphql-response+json, application/json;q=0.9",
      ...sent,
    },
    body: JSON.stringify(params),
  });
  const body = await answer.json().catch(() => null);
  if (answer.status === 401 && token && token === session.token) leave("You were signed out. Sign in again.");
  return body ?? { errors: [{ message: `The answer was ${answer.status}, without anything to read.` }] };
}

export async function signIn(email, password) {
  const query = `mutation SignIn($input: LoginInput!) { login(input: $input) { token refreshToken expiresIn ${USER} } }`;
  enter(await outcome("login", { query, variables: { input: { email, password } } }));
}

export async function signOut() {
  const { refreshToken } = session;
  leave("");
  const query = "mutation SignOut($token: String!) { logout(refreshToken: $token) }";
  await send({ query, variables: { token: refreshToken } }, headers());
}

function leave(told) {
  become({ store: session.user && !namesStore() ? session.user.tenantId : session.store, told });
}

function enter({ token, refreshToken, expiresIn, user }) {
  const store = user.role === "operator" ? session.store : user.tenantId;
  become({ store, token, refreshToken, ends: Date.now() + expiresIn * 1000, user });
}

/* Nobody's token goes with it: a stale one would be refused before the words are read. */
async function outcome(name, params) {
  const body = await send(params, { "X-Tenant-Id": session.store });
  const found = body.data?.[name];
  if (!found) throw new Error(body.errors?.[0]?.message ?? "That did not work. Try again.");
  return found;
}

/* A refresh token can be used once: whoever asks meanwhile waits for the same answer. */
export async function stayedSignedIn() {
  if (!session.token || Date.now() < session.ends - SOON_MS) return;
  refreshing ??= refresh().finally(() => (refreshing = null));
  await refreshing;
}

async function refresh() {
  const query = `mutation StaySignedIn($token: String!) {
    refreshToken(refreshToken: $token) { token refreshToken expiresIn ${USER} } }`;
  try {
    enter(await outcome("refreshToken", { query, variables: { token: session.refreshToken } }));
  } catch {
    leave("Your session has ended. Sign in again.");
  }
}
