# Made by `make client` from the OpenAPI document; edits are lost.
"""What can be called, by resource."""
