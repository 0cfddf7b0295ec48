"""GraphQL: documents are compiled to plans that load level by level and build the answer directly.

Generic over a schema: whoever has one describes it with `bindings.Bound` and gives it to `engine.Engine`.
"""
