"""GraphQL over HTTP: how operations are asked for and answered, and the page to ask on."""
