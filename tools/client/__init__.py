"""Makes the typed Python client from the OpenAPI document: `make client`."""
