"""The commerce schema of the GraphQL gateway, over the contracts of the services."""
