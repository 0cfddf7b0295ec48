"""A GraphQL schema with everything in it, and worlds where its fields give values, null and errors.

What a field gives depends on the world's seed, the object, the field and the arguments alone: two executors
find the same whenever and however often they look.
"""

import enum
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from graphql import GraphQLObjectType, is_leaf_type, is_list_type, is_non_null_type

from mercato.gateway.graphql.bindings import Args, Attribute, Bound, Events, Load, Resolve, Scalar
from mercato.gateway.graphql.schema import Schema
from mercato.kernel.errors import Conflict, NotFound

SDL = """
type Query {
  thing(id: ID, sure: Boolean = true): Thing
  things(limit: Int = 3, like: Filter): [Thing!]
  must: Thing!
  all(level: Level): [Thing]!
  page(limit: Int! = 2): Page!
  grid: [[Thing!]]
  level(of: Level! = MID): Level
  number(of: Float! = 1.5, ids: [ID!]): Float
  stamp(at: Stamp): Stamp
}
type Mutation { put(size: Int!, like: Filter): Thing  mustPut(size: Int = 1): Thing!  plain: Int! }
type Subscription { changed(level: Level, first: Int! = 3): Thing! }
type Page { data: [Thing!]!  total: Int  info: Inner! }
type Inner { a: Int!  b: String  deep: Inner }
type Part { code: String!  value: Int  inner: Inner  next: Part  owner: Thing  mustOwner: Thing! }
type Thing {
  id: ID!  name: String  title: String!  size: Int  weight: Float!  ok: Boolean!  level: Level!  maybe: Level
  tags: [String!]  words: [String]!  grid: [[Int!]!]  stamp: Stamp!  stamps: [Stamp]
  part: Part  mustPart: Part!  parts: [Part!]!  maybeParts: [Part]  inner: Inner!  inners: [[Inner]!]
  friend: Thing  bestFriend: Thing!
  friends(first: Int = 2, like: Filter, levels: [Level!]): [Thing!]
  others(of: Int): [[Thing]!]!
  count(of: Level! = LOW): Int  score(sizeOf: Int): Float!  labels(like: [Filter!] = [{min: 1}]): [String!]!
}
enum Level { LOW MID HIGH }
input Filter { name: String = "x", min: Int!, inner: Filter, levels: [Level!] = [LOW], sizeOf: Float }
scalar Stamp
"""


class Level(enum.Enum):
    LOW = 1
    MID = "mid"
    HIGH = "high"


@dataclass(frozen=True)
class Stamp:
    text: str


def _read_stamp(value: object) -> Stamp:
    if not isinstance(value, str):
        raise ValueError("a stamp is a text")  # noqa: TRY004  it is what a scalar's reader is to raise
    return Stamp(value)


def _write_stamp(value: Any) -> str:
    text: str = value.text
    if text == "bad":
        raise ValueError("that is no stamp")
    return text


@dataclass
class World:
    """Where the values come from. The rates say how often something fails, is null or of a wrong type."""

    seed: int
    errors: float = 0.0
    nulls: float = 0.0
    wrong: float = 0.0
    request_id: str = "request"
    did: list[str] = field(default_factory=list)
    """The mutations that were carried out."""
    events: list[Any] = field(default_factory=list)
    """What was given to a subscription."""
    loads: list[tuple[str, int]] = field(default_factory=list)
    """What was loaded at once, and for how many."""

    def get(self, of: str, number: int, name: str, args: Args) -> Any:
        """Return what a field of an object gives, or raise what it fails with."""
        if self.fails(of, name, args):
            raise Conflict(f"{name} failed for all")
        chance = random.Random(f"{self.seed} {of} {number} {name} {_text(args)}")
        if chance.random() < self.errors:
            raise chance.choice(
                [NotFound("no such thing"), ValueError("a defect"), AttributeError("another")]
            )
        is_attribute = of not in ROOTS and (of, name) not in LOADED
        return self._value(FIELDS[of][name], chance, once=is_attribute)

    def fails(self, of: str, name: str, args: Args) -> bool:
        """Say whether a field fails at once for all objects."""
        chance = random.Random(f"{self.seed} {of} {name} {_text(args)}")
        return (of, name) in LOADED and chance.random() < self.errors / 2

    def _value(self, type_: Any, chance: random.Random, *, once: bool) -> Any:
        """Return a value of a type; with `once`, lists may be such as can be read once only."""
        # Null where the schema promises something is a defect, and rarer.
        if chance.random() < (self.nulls / 5 if is_non_null_type(type_) else self.nulls):
            return None
        if is_non_null_type(type_):
            type_ = type_.of_type
        if is_list_type(type_):
            if chance.random() < self.wrong:
                return chance.choice([5, "text", {"a": 1}])
            items = [
                self._value(type_.of_type, chance, once=once) for _ in range(chance.choice([0, 1, 2, 2, 3]))
            ]
            return chance.choice([items, items, tuple(items), iter(items) if once else items])
        if is_leaf_type(type_):
            values = _WRONG if chance.random() < self.wrong else _RIGHT[type_.name]
            return chance.choice(values)
        return Thing(self, type_.name, chance.randrange(6))


class Thing:
    """An object of any type, whose attributes are its fields in snake_case."""

    def __init__(self, world: World, of: str, number: int) -> None:
        self.world = world
        self.of = of
        self.number = number

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        head, *rest = name.split("_")
        return self.world.get(self.of, self.number, head + "".join(each.title() for each in rest), {})

    def __eq__(self, other: object) -> bool:
        raise AssertionError("objects are not to be compared")

    def __hash__(self) -> int:
        raise AssertionError("objects are not to be compared")


_WRONG = [
    *("text", "", 5, 2**31, -(2**31) - 1, 1.5, float("nan"), -float("inf"), Decimal("NaN"), Decimal("1e999")),
    *(True, b"bytes", [1], Level.LOW, Stamp("bad"), object),
]
_RIGHT: dict[str, list[Any]] = {
    "Int": [0, 1, -5, 2**31 - 1, True, 7.0, "12"],
    "Float": [0.5, 1.25, 3, True, "1.5", Decimal("19.99")],
    "String": ["", "a text", "schön", 5, True],
    "ID": ["one", "two", 3],
    "Boolean": [True, False, 1],
    "Level": list(Level),
    "Stamp": [Stamp("s1"), Stamp("s2")],
}
ROOTS = ("Query", "Mutation", "Subscription")
LOADED = {("Part", "owner"), ("Part", "mustOwner")} | {
    ("Thing", name) for name in ("friend", "bestFriend", "friends", "others", "count", "score", "labels")
}


def _text(args: Args) -> str:
    return repr(sorted(args.items())) if args else ""


def _load(of: str, name: str) -> Load:
    async def load(world: World, parents: Sequence[Thing], args: Args) -> list[Any]:
        world.loads.append((f"{of}.{name}", len(parents)))
        if world.fails(of, name, args):
            raise Conflict(f"{name} failed for all")
        return [_outcome(parent, name, args) for parent in parents]

    return Load(load, key=(lambda thing: thing.number) if name in {"friend", "owner", "count"} else None)


def _outcome(parent: Thing, name: str, args: Args) -> Any:
    try:
        return parent.world.get(parent.of, parent.number, name, args)
    except Exception as error:  # noqa: BLE001  a load gives errors back as values
        return error


def _resolve(of: str, name: str) -> Resolve:
    async def resolve(world: World, args: Args) -> Any:
        if of == "Mutation":
            world.did.append(name)
        return world.get(of, 0, name, args)

    return Resolve(resolve)


async def _changed(world: World, args: Args) -> AsyncGenerator[Any, None]:
    for number in range(min(args["first"], 3)):
        try:
            value = world.get("Subscription", number, "changed", args)
        except Exception as error:
            world.events.append(error)
            raise
        world.events.append(value)
        yield value


def bound() -> Bound:
    """Return the schema with its bindings."""
    fields: dict[str, dict[str, Any]] = {}
    for of, name in LOADED:
        fields.setdefault(of, {})[name] = _load(of, name)
    fields["Thing"] |= {"title": Attribute(lambda thing: thing.title), "tags": Attribute("tags")}
    fields["Query"] = {name: _resolve("Query", name) for name in FIELDS["Query"]}
    fields["Mutation"] = {name: _resolve("Mutation", name) for name in FIELDS["Mutation"]}
    fields["Subscription"] = {"changed": Events(_changed)}
    return Bound(SDL, fields, {"Stamp": Scalar(_write_stamp, _read_stamp)}, {"Level": Level.__members__})


def oracle() -> Schema:
    """Return the schema with resolvers of graphql-core's own kind, which wait for nothing."""
    schema = Schema(bound())
    for of, fields in FIELDS.items():
        object_type = schema.graphql.type_map[of]
        assert isinstance(object_type, GraphQLObjectType)
        for name in fields:
            object_type.fields[name].resolve = _resolver(of, name)
    return schema


def _resolver(of: str, name: str) -> Any:
    def resolve(parent: Thing | None, info: Any, /, **args: Any) -> Any:
        world: World = info.context
        if of == "Mutation":
            world.did.append(name)
        if of == "Subscription":
            return parent
        return world.get(of, parent.number if parent is not None else 0, name, args)

    return resolve


def _fields() -> dict[str, dict[str, Any]]:
    from graphql import build_schema  # noqa: PLC0415  only for this

    types = build_schema(SDL).type_map.values()
    return {
        each.name: {name: each_field.type for name, each_field in each.fields.items()}
        for each in types
        if isinstance(each, GraphQLObjectType) and not each.name.startswith("__")
    }


FIELDS = _fields()
"""The types of all fields, by object type and name."""
