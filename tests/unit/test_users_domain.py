"""The rules of stores and users."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.contracts.stores import TenantOnboarded
from mercato.contracts.users import UserCreated
from mercato.kernel.errors import ValidationFailed
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId, Tier
from mercato.users.domain import (
    NewTenant,
    NewUser,
    create_user,
    email_key,
    home,
    onboard,
    tenant_refusals,
    user_refusals,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)


def somebody(**changed: str) -> NewUser:
    fields = {"email": "ada@example.com", "password": "correct horse", "first_name": "Ada", "last_name": "L"}
    return NewUser(**(fields | changed))


def refused(**changed: str) -> list[str]:
    return [each.field for each in user_refusals(somebody(**changed))]


@pytest.mark.parametrize(
    "email", ["a@b", "o'brien+tag@mail.example.org", "дарья@почта.рф", "a" * 242 + "@example.org"]
)
def test_an_email_address_is_accepted(email: str) -> None:
    assert refused(email=email) == []


@pytest.mark.parametrize(
    "email",
    [
        "",
        "@",
        "a@",
        "@b",
        "a@b@c",
        "a b@c",
        "a@b\n",
        "a@b\r\nBcc: all@c",
        "a\t@b",
        "a@b,c",
        "<a@b>",
        "a@b;c",
        "a\u200b@b",
        "a\u202e@b",
        "a\u00a0@b",
        "a\0@b",
        "a" * 243 + "@example.org",
        "\u0390" * 200 + "@b",
    ],
)
def test_what_could_break_a_mail_header_is_no_email(email: str) -> None:
    assert refused(email=email) == ["email"]


@given(st.text(max_size=300))
def test_no_accepted_email_holds_spaces_or_control_characters(text: str) -> None:
    if refused(email=text) == []:
        assert text.isprintable()
        assert not any(char.isspace() for char in text)
        assert text.count("@") == 1


@given(st.emails())
def test_case_does_not_tell_emails_apart(email: str) -> None:
    assert email_key(email.upper()) == email_key(email.lower()) == email_key(email)


def test_composition_does_not_tell_emails_apart() -> None:
    assert email_key("zoe\u0308@example.com") == email_key("zo\u00eb@example.com")


@pytest.mark.parametrize("name", ["", " ", "a" * 101, "a\nb", "a\0", "a\x7f", "a\u0085b", "a\u2028b"])
def test_an_unprintable_name_is_refused(name: str) -> None:
    assert refused(first_name=name) == ["first_name"]
    assert refused(last_name=name) == ["last_name"]


@pytest.mark.parametrize("name", ["O'Neill", "李", "क्\u200dष", "Anna-Lena", "a" * 100])
def test_a_name_of_any_script_is_accepted(name: str) -> None:
    assert refused(first_name=name) == []


@pytest.mark.parametrize("password", ["", "1234567", "a" * 129])
def test_a_password_has_8_to_128_characters(password: str) -> None:
    assert refused(password=password) == ["password"]


def test_every_bad_field_is_named() -> None:
    admin = somebody(email="x", password="", first_name="", last_name="\n")
    new = NewTenant(id="A B", name="", currency="usd", admin=admin)
    assert [each.field for each in tenant_refusals(new)] == [
        "id",
        "name",
        "currency",
        "admin.email",
        "admin.password",
        "admin.first_name",
        "admin.last_name",
    ]


@pytest.mark.parametrize("slug", ["", "-a", "a-", "A", "a_b", "a.b", "a\n", "a" * 64, "ä"])
def test_a_store_id_is_a_dns_label(slug: str) -> None:
    new = NewTenant(id=slug, name="Shop", admin=somebody())
    assert [each.field for each in tenant_refusals(new)] == ["id"]


def test_a_new_user_is_told_to_others() -> None:
    user_id = UserId(uuid7())
    user, events = create_user(somebody(), TenantId("shop"), user_id, Role.CUSTOMER, at=AT)
    assert (user.full_name, user.version, user.is_active) == ("Ada L", 1, True)
    (event,) = events
    assert isinstance(event, UserCreated)
    assert (event.subject, event.email, event.role) == (user_id, "ada@example.com", Role.CUSTOMER)


def test_opening_a_store_makes_its_admin() -> None:
    new = NewTenant(id="shop", name="Shop", currency="EUR", admin=somebody())
    tenant, admin, events = onboard(new, UserId(uuid7()), tier=Tier.BASIC, at=AT)
    assert (tenant.store.currency, tenant.tier, admin.role) == ("EUR", Tier.BASIC, Role.ADMIN)
    assert [type(event) for event in events] == [TenantOnboarded, UserCreated]
    assert {event.tenant_id for event in events} == {"shop"}


def test_a_bad_admin_opens_no_store() -> None:
    new = NewTenant(id="shop", name="Shop", admin=somebody(email="x"))
    with pytest.raises(ValidationFailed):
        onboard(new, UserId(uuid7()), tier=Tier.BASIC, at=AT)


@pytest.mark.parametrize(
    "role, expected", [(Role.CUSTOMER, "shop"), (Role.ADMIN, "shop"), (Role.OPERATOR, "default")]
)
def test_an_operator_lives_in_the_default_store(role: Role, expected: str) -> None:
    assert home(Principal(UserId(uuid7()), "a@b", role, TenantId("shop"))) == expected
