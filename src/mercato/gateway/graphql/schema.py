"""A schema with its bindings: both are checked against each other once, at the start."""

from collections.abc import Iterator

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    assert_valid_schema,
    build_schema,
    get_named_type,
    is_abstract_type,
    is_introspection_type,
)

from mercato.gateway.graphql.bindings import (
    Attribute,
    Binding,
    Bound,
    Events,
    Load,
    Resolve,
    Scalar,
    Value,
    snake,
)


class Schema:
    """An executable schema: every field of every object type has its binding."""

    def __init__(self, bound: Bound) -> None:
        """Raise ValueError where the bindings do not fit the schema, TypeError where the SDL is wrong."""
        self.graphql: GraphQLSchema = build_schema(bound.sdl)
        assert_valid_schema(self.graphql)
        self.plain: dict[str, type] = {}
        """By scalar, what is put into an answer as it is."""
        self._name_inputs()
        for name, scalar in bound.scalars.items():
            self._bind_scalar(name, scalar)
        for name, values in bound.enums.items():
            enum = self.graphql.type_map.get(name)
            if not isinstance(enum, GraphQLEnumType) or set(enum.values) != set(values):
                raise ValueError(f"The enum {name} is not the schema's.")
            for each, value in values.items():
                enum.values[each].value = value
        self._bindings = {
            each.name: dict(self._bind(each, bound))
            for each in self.graphql.type_map.values()
            if isinstance(each, GraphQLObjectType) and not is_introspection_type(each)
        }
        unknown = [
            f"{of}.{name}"
            for of, fields in bound.fields.items()
            for name in fields
            if name not in self._bindings.get(of, ())
        ]
        if unknown:
            raise ValueError(f"The schema has no {', '.join(unknown)}.")

    def binding(self, of: str, field: str) -> Binding:
        """Return how a field of an object type is had."""
        return self._bindings[of][field]

    def bindings(self) -> Iterator[tuple[GraphQLField, Binding]]:
        """Go through all fields of object types."""
        for of, fields in self._bindings.items():
            object_type = self.graphql.type_map[of]
            assert isinstance(object_type, GraphQLObjectType)  # noqa: S101  only such have bindings
            for name, binding in fields.items():
                yield object_type.fields[name], binding

    def _bind(self, of: GraphQLObjectType, bound: Bound) -> Iterator[tuple[str, Binding]]:
        roots = (self.graphql.query_type, self.graphql.mutation_type)
        kind = Events if of is self.graphql.subscription_type else Resolve if of in roots else None
        given = bound.fields.get(of.name, {})
        for name, field in of.fields.items():
            if is_abstract_type(get_named_type(field.type)):
                raise ValueError(f"{of.name}.{name} may be of several types, which no plan can be made for.")
            binding = given.get(name) or Attribute()
            fits = isinstance(binding, (Attribute, Load)) if kind is None else isinstance(binding, kind)
            if not fits:
                raise ValueError(f"{of.name}.{name} cannot be had by {type(binding).__name__}.")
            if isinstance(binding.many, str) and binding.many not in field.args:
                raise ValueError(f"{of.name}.{name} has no argument {binding.many}.")
            if isinstance(binding, Attribute) and binding.get is None:
                binding = Attribute(snake(name), binding.cost, binding.many, binding.public)
            yield name, binding

    def _name_inputs(self) -> None:
        for each in self.graphql.type_map.values():
            if is_introspection_type(each):
                continue
            if isinstance(each, GraphQLInputObjectType):
                for name, given in each.fields.items():
                    given.out_name = snake(name)
            elif isinstance(each, GraphQLObjectType):
                for field in each.fields.values():
                    for name, argument in field.args.items():
                        argument.out_name = snake(name)

    def _bind_scalar(self, name: str, scalar: Scalar) -> None:
        known = self.graphql.type_map.get(name)
        if not isinstance(known, GraphQLScalarType):
            raise ValueError(f"The schema has no scalar {name}.")  # noqa: TRY004  it is a wrong binding
        plain, write = scalar.plain, scalar.write

        def written(value: Value) -> Value:
            return value if plain is not None and value.__class__ is plain else write(value)

        known.coerce_output_value = written
        known.coerce_input_value = scalar.read
        if plain is not None:
            self.plain[name] = plain
