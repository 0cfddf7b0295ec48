"""Which store a request acts in: by token, by header, by host."""

import pytest

from mercato.contracts.stores import Store
from mercato.kernel.errors import Forbidden, MercatoError, NotFound, Unauthenticated, Unavailable
from mercato.kernel.ids import UserId
from mercato.kernel.principal import ANY_STORE, Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT, StoreStatus, TenantId, Tier
from mercato.web.auth import Stores
from mercato.web.http import Request

STATUS = {
    "default": StoreStatus.ACTIVE,
    "tea": StoreStatus.ACTIVE,
    "mugs": StoreStatus.ACTIVE,
    "slow": StoreStatus.SUSPENDED,
    "gone": StoreStatus.OFFBOARDED,
}
DOMAIN = "shops.example"


async def find(tenant: TenantId) -> Store | None:
    if tenant not in STATUS:
        return None
    return Store(tenant, tenant, "USD", Tier.BASIC, STATUS[tenant])


def request(host: str = "", header: str | None = None) -> Request:
    headers = {"host": host} | ({} if header is None else {"x-tenant-id": header})
    return Request("GET", "/", "", headers, "192.0.2.1", False, None, None)  # type: ignore[arg-type]  # noqa: FBT003


def who(role: Role, tenant: str, *scopes: str) -> Principal:
    return Principal(UserId("u"), "", role, TenantId(tenant), frozenset(scopes))


async def acting(
    host: str = "", header: str | None = None, caller: Principal | None = None, domain: str = DOMAIN
) -> str | type[MercatoError]:
    try:
        return (await Stores(find, domain).acting_in(request(host, header), caller)).tenant
    except MercatoError as refused:
        return type(refused)


@pytest.mark.parametrize(
    "host, tenant",
    [
        ("tea.shops.example", "tea"),
        ("TEA.Shops.Example", "tea"),
        ("tea.shops.example:8443", "tea"),
        ("tea.shops.example.", "tea"),
        ("shops.example", "default"),
        ("", "default"),
        ("127.0.0.1:8080", "default"),
        ("[::1]:8080", "default"),
        ("tea.other.example", "default"),
        ("teashops.example", "default"),
        ("tea.shops.example.evil.example", "default"),
        ("default.shops.example", "default"),
        ("nowhere.shops.example", NotFound),
        ("a.tea.shops.example", NotFound),
        (".shops.example", NotFound),
        ("xn--tea.shops.example", NotFound),
        ("slow.shops.example", Forbidden),
        ("gone.shops.example", NotFound),
    ],
)
async def test_without_a_token_the_host_names_the_store(host: str, tenant: str | type[MercatoError]) -> None:
    assert await acting(host) == tenant


async def test_without_a_domain_the_host_says_nothing() -> None:
    assert await acting("tea.shops.example", domain="") == DEFAULT_TENANT
    assert await acting("nowhere.shops.example", domain="") == DEFAULT_TENANT


@pytest.mark.parametrize("domain", ["Shops.Example", ".shops.example", "shops.example."])
async def test_a_domain_may_be_written_as_people_do(domain: str) -> None:
    assert await acting("tea.shops.example", domain=domain) == "tea"


async def test_the_header_wins_over_the_host() -> None:
    assert await acting("tea.shops.example", "mugs") == "mugs"
    assert await acting("tea.shops.example", "nowhere") is NotFound
    assert await acting("tea.shops.example", "") is NotFound
    assert await acting("tea.shops.example", "mugs, tea") is NotFound


@pytest.mark.parametrize("role", [Role.CUSTOMER, Role.ADMIN, Role.SERVICE])
@pytest.mark.parametrize("host", ["tea.shops.example", "nowhere.shops.example", "gone.shops.example", "evil"])
@pytest.mark.parametrize("header", [None, "tea", "default", "nowhere", "gone", ""])
async def test_a_token_wins_over_host_and_header(role: Role, host: str, header: str | None) -> None:
    assert await acting(host, header, who(role, "mugs", "orders:read")) == "mugs"


@pytest.mark.parametrize("caller", [who(Role.OPERATOR, "default"), who(Role.SERVICE, "default", ANY_STORE)])
async def test_who_may_act_anywhere_names_the_store_by_header_alone(caller: Principal) -> None:
    assert await acting("tea.shops.example", None, caller) == "default"
    assert await acting("tea.shops.example", "mugs", caller) == "mugs"
    assert await acting("", "nowhere", caller) is NotFound


async def test_a_store_that_does_not_trade_lets_operators_in_alone() -> None:
    operator, machine = who(Role.OPERATOR, "default"), who(Role.SERVICE, "default", ANY_STORE)
    for tenant, refusal in (("slow", Forbidden), ("gone", NotFound)):
        assert await acting("", tenant, operator) == tenant
        assert await acting("", tenant, machine) is refusal
    assert await acting(caller=who(Role.ADMIN, "slow")) is Forbidden
    for gone in ("gone", "nowhere"):
        assert await acting(caller=who(Role.CUSTOMER, gone)) is Unauthenticated


@pytest.mark.parametrize("home, refusal", [("slow", Forbidden), ("gone", Unauthenticated)])
async def test_a_machine_that_may_act_anywhere_stops_with_its_own_store(
    home: str, refusal: type[MercatoError]
) -> None:
    assert await acting("", "tea", who(Role.SERVICE, home, ANY_STORE)) is refusal


async def test_while_the_directory_is_away_a_token_says_it_all() -> None:
    async def away(_: TenantId) -> Store | None:
        raise Unavailable("The users service is away.")

    stores = Stores(away, DOMAIN)
    found = await stores.acting_in(request(), who(Role.CUSTOMER, "mugs"))
    assert (found.tenant, found.store) == ("mugs", None)
    with pytest.raises(Unavailable):
        await stores.acting_in(request("tea.shops.example"), None)
