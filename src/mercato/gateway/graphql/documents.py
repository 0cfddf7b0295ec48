"""Documents: read, checked and planned once, and remembered."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    parse,
    specified_rules,
    validate,
)
from graphql.execution.values import VariableValues

from mercato.gateway.graphql.answer import (
    OPERATION_RESOLUTION_FAILURE,
    PARSE_FAILED,
    VALIDATION_FAILED,
    Problem,
    Refused,
    refused,
)
from mercato.gateway.graphql.costs import cost
from mercato.gateway.graphql.errors import told
from mercato.gateway.graphql.lexical import check_text
from mercato.gateway.graphql.limits import Limits
from mercato.gateway.graphql.measures import check_size
from mercato.gateway.graphql.merging import Fragments, conflicts
from mercato.gateway.graphql.plan import Plan
from mercato.gateway.graphql.planner import Planner, conditions
from mercato.gateway.graphql.schema import Schema
from mercato.gateway.graphql.variables import Variables

_OVERHEAD_CHARS = 200
"""What a document counts beside its text."""
_MOST_PLANS = 4
"""Of one operation, for different values of its conditions. Each takes up to 60 KB."""
_RULES = [rule for rule in specified_rules if rule is not OverlappingFieldsCanBeMergedRule]
"""All but the one that `merging.conflicts` stands for."""


class Executable:
    """An operation of a document that was found valid."""

    def __init__(
        self, schema: Schema, limits: Limits, node: OperationDefinitionNode, fragments: Fragments
    ) -> None:
        self.node = node
        self.fragments = fragments
        self.variables = Variables(schema.graphql, node, limits)
        self._schema = schema
        self._limits = limits
        self._conditions = conditions(node, fragments)
        self._plans: OrderedDict[tuple[bool | None, ...], Plan] = OrderedDict()

    def plan(self, variables: VariableValues) -> Plan:
        """Return the plan for these variables."""
        values = tuple([variables.coerced.get(name) for name in self._conditions])
        plan = self._plans.get(values)
        if plan is None:
            plan = Planner(self._schema, self.fragments, self._limits.list_size, variables).plan(self.node)
            if len(self._plans) >= _MOST_PLANS:
                self._plans.popitem(last=False)
            self._plans[values] = plan
        return plan

    def cost(self, plan: Plan, variables: VariableValues) -> int:
        """Return what a plan of it costs with these variables."""
        return cost(plan.root, variables, self._limits.list_size)


class Document:
    """A document that was found valid."""

    def __init__(self, schema: Schema, limits: Limits, node: DocumentNode) -> None:
        self.node = node
        fragments = {
            each.name.value: each for each in node.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._operations = {
            each.name.value if each.name else "": Executable(schema, limits, each, fragments)
            for each in node.definitions
            if isinstance(each, OperationDefinitionNode)
        }

    def operation(self, name: str | None) -> Executable:
        """Return the operation of this name, or the only one. Raises Refused."""
        if name is None:
            if len(self._operations) == 1:
                return next(iter(self._operations.values()))
            raise refused(
                "Must provide operation name if query contains multiple operations."
                if self._operations
                else "Must provide an operation.",
                OPERATION_RESOLUTION_FAILURE,
            )
        if not name or name not in self._operations:
            raise refused(f"Unknown operation named '{name}'.", OPERATION_RESOLUTION_FAILURE)
        return self._operations[name]


class Documents:
    """Gives documents to their texts. It remembers them, and what is wrong with others, to a bound."""

    def __init__(
        self, schema: Schema, limits: Limits, *, introspection: bool, trusted: frozenset[str] | None
    ) -> None:
        self._schema = schema
        self._limits = limits
        self._introspection = introspection
        self._trusted = trusted
        self._known: OrderedDict[str, Document | tuple[Problem, ...]] = OrderedDict()
        self._chars = 0

    @property
    def remembered(self) -> int:
        """How many documents are remembered."""
        return len(self._known)

    def get(self, text: str) -> Document:
        """Return the document that a text is. Raises Refused."""
        known = self._known.get(text)
        if known is None:
            known = self._read(text)
            self._remember(text, known)
        else:
            self._known.move_to_end(text)
        if isinstance(known, Document):
            return known
        raise Refused(known)

    def _read(self, text: str) -> Document | tuple[Problem, ...]:
        check_text(text, self._limits)
        if self._trusted is not None and _sha256(text) not in self._trusted:
            raise refused("Only documents that are known here are executed.", "QUERY_NOT_IN_SAFELIST")
        try:
            node = parse(text, max_lexical_tokens=self._limits.tokens + 1)
        except GraphQLSyntaxError as error:
            return (told(error, PARSE_FAILED),)
        try:
            check_size(node, self._limits, introspection=self._introspection)
        except Refused as refusal:
            return tuple(refusal.result.errors)
        errors = self._validate(node)
        if errors:
            return tuple(told(error, VALIDATION_FAILED) for error in errors)
        return Document(self._schema, self._limits, node)

    def _validate(self, node: DocumentNode) -> Sequence[GraphQLError]:
        errors = validate(
            self._schema.graphql,
            node,
            _RULES,
            max_errors=self._limits.validation_errors,
            hide_suggestions=True,
        )
        if errors:
            return errors
        fragments = {
            each.name.value: each for each in node.definitions if isinstance(each, FragmentDefinitionNode)
        }
        return [
            error
            for each in node.definitions
            if isinstance(each, OperationDefinitionNode)
            for error in conflicts(each, fragments)
        ]

    def _remember(self, text: str, document: Document | tuple[Problem, ...]) -> None:
        self._known[text] = document
        self._chars += len(text) + _OVERHEAD_CHARS
        while self._chars > self._limits.cached_chars:
            oldest, _ = self._known.popitem(last=False)
            self._chars -= len(oldest) + _OVERHEAD_CHARS


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
