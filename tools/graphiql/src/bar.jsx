import { useRef, useState, useSyncExternalStore } from "react";
import { actIn, current, namesStore, signIn, signOut, watch } from "./session.js";

export function Bar() {
  const session = useSyncExternalStore(watch, current);
  return (
    <header className="bar graphiql-container">
      <h1>Mercato GraphQL</h1>
      {namesStore() ? <Store key={session.store} store={session.store} /> : <span>Store <b>{session.user.tenantId}</b></span>}
      {session.user ? <User user={session.user} /> : <SignIn told={session.told} />}
    </header>
  );
}

function Store({ store }) {
  return (
    <label>
      Store{" "}
      <input
        defaultValue={store}
        autoComplete="off"
        spellCheck="false"
        onBlur={(event) => actIn(event.target.value)}
        onKeyDown={(event) => event.key === "Enter" && event.target.blur()}
      />
    </label>
  );
}

function User({ user }) {
  return (
    <div className="who">
      <span>
        <b>{user.fullName}</b> ({user.role}), {user.email}
      </span>
      <button type="button" onClick={signOut}>Sign out</button>
    </div>
  );
}

function SignIn({ told }) {
  const [state, setState] = useState({ busy: false, words: "" });
  const form = useRef(null);
  async function submit(event) {
    event.preventDefault();
    const { email, password } = form.current.elements;
    setState({ busy: true, words: "" });
    try {
      await signIn(email.value, password.value);
    } catch (error) {
      setState({ busy: false, words: error.message });
    }
  }
  return (
    <form className="who" ref={form} onSubmit={submit}>
      <span role="alert">{state.words || told}</span>
      <input name="email" type="email" placeholder="Email" aria-label="Email" autoComplete="username" required />
      <input name="password" type="password" placeholder="Password" aria-label="Password" autoComplete="current-password" required />
      <button disabled={state.busy}>Sign in</button>
    </form>
  );
}
