"""The contracts of services over HTTP: for each, the client, and the endpoints that it calls."""
