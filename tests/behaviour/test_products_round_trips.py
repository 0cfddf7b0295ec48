"""What is exported of one store is imported in another, whatever is in its texts."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mercato.kernel.text import LINE_PATTERN
from tests.behaviour.products_shop import Shop
from tests.behaviour.test_products_walks import new_shop

KINDS = {"ndjson": "application/x-ndjson", "csv": "text/csv"}

_ODD = st.sampled_from([*"\"',;\t\r\n\x1a\x85\u2028\ufeff\u202e =+-@\\", '""', "\r\n", '"\n', "é", "🎉"])
_TEXT = st.lists(
    st.one_of(_ODD, st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=8
).map("".join)
_LINE = st.one_of(_TEXT, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)).filter(
    lambda text: re.search(LINE_PATTERN, text) is not None
)
_PRODUCT = st.fixed_dictionaries(
    {"name": _LINE, "price": st.sampled_from([0, 0.01, 5, 99.9]), "stock": st.integers(0, 10**9)},
    optional={"description": _TEXT, "category": st.one_of(st.none(), _LINE)},
)


async def imported(shop: Shop, body: bytes, kind: str) -> dict[str, Any]:
    answer = await shop.request("POST", "/import?on_error=abort", body, headers={"content-type": KINDS[kind]})
    assert answer.status == 200, answer.body
    return dict(answer.data)


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
@given(products=st.lists(_PRODUCT, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
async def test_an_export_makes_the_same_catalogue_elsewhere(
    kind: str, products: list[dict[str, Any]]
) -> None:
    async with new_shop() as here, new_shop() as there:
        for number, product in enumerate(products):
            made = await here.request("POST", "", {"sku": f"S.{number}", **product})
            assert made.status == 201, (made.body, product)
        exported = (await here.download(f"/export?format={kind}")).raw

        report = await imported(there, exported, kind)

        assert (report["created"], report["lines"]) == (len(products), len(products))
        for form in KINDS:
            copies = [(await shop.download(f"/export?format={form}")).raw for shop in (here, there)]
            assert copies[0] == copies[1]
        again = await imported(here, exported, kind)
        assert again["unchanged"] == len(products)
