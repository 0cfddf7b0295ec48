"""The committed client is the one that the present API makes."""

from tools.client.package import HOME, generated, present


def test_the_client_is_what_the_document_makes() -> None:
    wanted = generated()
    found = {name: (HOME / name).read_text() for name in present()}
    different = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    assert different == [], "run `make client`"
