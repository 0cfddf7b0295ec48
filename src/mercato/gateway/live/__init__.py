"""GraphQL that goes on: operations over sockets and event streams, and the events that feed subscriptions."""
