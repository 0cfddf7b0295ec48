"""Variables and arguments: what does not change from request to request is worked out once.

The answers are those of graphql-core, whose own functions are asked wherever anything is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from graphql import (
    ArgumentNode,
    FieldNode,
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    GraphQLSchema,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_argument_values,
    get_variable_values,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, coerce_argument
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_value

from mercato.gateway.graphql.answer import BAD_USER_INPUT, Refused, refused
from mercato.gateway.graphql.bindings import Args, Value
from mercato.gateway.graphql.errors import told
from mercato.gateway.graphql.limits import Limits
from mercato.gateway.graphql.measures import value_depth

NONE = VariableValues({}, {})


class Variables:
    """The variables that a validated operation declares."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode, limits: Limits) -> None:
        self._schema = schema
        self._limits = limits
        self._definitions = operation.variable_definitions or ()
        self._signatures = [
            signature
            for each in self._definitions
            if isinstance(signature := get_variable_signature(schema, each), GraphQLVariableSignature)
        ]

    def coerce(self, given: Mapping[str, Value]) -> VariableValues:
        """Return the values of all variables, with their defaults. Raises Refused."""
        if not self._signatures:
            return NONE
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Value] = {}
        for signature in self._signatures:
            name = signature.name
            value = given.get(name, Undefined)
            sources[name] = VariableValueSource(signature, value)
            if value is Undefined:
                if signature.default is not None:
                    coerced[name] = coerce_default_value(signature)
                    continue
                if not is_non_null_type(signature.type):
                    continue
            elif value.__class__ in {list, dict} and value_depth(value) > self._limits.input_depth:
                raise refused(
                    f"Variable '${name}' has more than {self._limits.input_depth} lists and objects"
                    " within each other.",
                    "TOO_DEEP",
                )
            coerced[name] = coerce_input_value(value, signature.type)
            if coerced[name] is Undefined:
                raise self._refusal(given)
        return VariableValues(sources, coerced)

    def _refusal(self, given: Mapping[str, Value]) -> Refused:
        errors = get_variable_values(
            self._schema,
            self._definitions,
            dict(given),
            max_errors=self._limits.validation_errors,
            hide_suggestions=True,
        )
        assert isinstance(errors, list)  # noqa: S101  it is the same coercion, which has just failed
        return Refused([told(error, BAD_USER_INPUT) for error in errors])


class Arguments:
    """The arguments of a field of a validated operation."""

    def __init__(self, field: GraphQLField, node: FieldNode) -> None:
        self._field = field
        self._node = node
        self._constant: dict[str, Value] = {}
        self._direct: list[_Direct] = []
        """Those that are just the value of a variable."""
        self._is_plain = True
        given = {each.name.value: each for each in node.arguments or ()}
        for name, argument in field.args.items():
            each = given.get(name)
            if each is not None and isinstance(each.value, VariableNode):
                self._direct.append(_Direct.of(each.value.name.value, name, argument))
            elif each is not None and _has_variables(each.value):
                self._is_plain = False
            else:
                self._take_constant(name, argument, each)

    @property
    def varies(self) -> bool:
        """They may be others with other variables."""
        return bool(self._direct) or not self._is_plain

    def values(self, variables: VariableValues) -> Args:
        """Return the arguments by their names in snake_case. Raises GraphQLError."""
        if not self._is_plain:
            return self._worked_out(variables)
        if not self._direct:
            return self._constant
        args = dict(self._constant)
        coerced = variables.coerced
        for each in self._direct:
            value = coerced.get(each.variable, each.default)
            if value is None and each.is_non_null:
                return self._worked_out(variables)
            if value is not Undefined:
                args[each.name] = value
        return args

    def _take_constant(self, name: str, argument: GraphQLArgument, given: ArgumentNode | None) -> None:
        try:
            coerce_argument(self._constant, self._node, name, argument, given, NONE, None)
        except GraphQLError:
            self._is_plain = False  # It is raised again, each time the field is to be had.

    def _worked_out(self, variables: VariableValues) -> Args:
        return get_argument_values(self._field, self._node, variables, hide_suggestions=True)


@dataclass(frozen=True, slots=True)
class _Direct:
    variable: str
    name: str
    is_non_null: bool
    default: Value

    @classmethod
    def of(cls, variable: str, name: str, argument: GraphQLArgument) -> "_Direct":
        default = coerce_default_value(argument)
        return cls(variable, argument.out_name or name, is_non_null_type(argument.type), default)


def _has_variables(node: ValueNode) -> bool:
    stack = [node]
    while stack:
        match stack.pop():
            case VariableNode():
                return True
            case ListValueNode(values=values):
                stack.extend(values)
            case ObjectValueNode(fields=fields):
                stack.extend(each.value for each in fields)
            case _:
                pass
    return False
