import { setNonce } from "get-nonce";
import { GraphiQL } from "graphiql";
import { createRoot } from "react-dom/client";
import { Bar } from "./bar.jsx";
import { examples } from "./examples.js";
import { fetcher } from "./fetcher.js";
import "graphiql/style.css";
import "./page.css";

// Dialogs put a style into the page while they are open; the page's policy allows it by this.
setNonce(document.currentScript.nonce);

const given = new URLSearchParams(location.search);

createRoot(document.getElementById("page")).render(
  <>
    <Bar />
    <GraphiQL
      fetcher={fetcher}
      defaultTabs={examples}
      defaultQuery={"# Ctrl-Space completes, Ctrl-Enter runs.\n"}
      query={given.get("query") ?? undefined}
      variables={given.get("variables") ?? undefined}
      shouldPersistHeaders={false}
    >
      <GraphiQL.Logo> </GraphiQL.Logo>
    </GraphiQL>
  </>,
);
