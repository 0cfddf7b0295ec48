"""Who buys in the demo's stores, and where they live: lists that people are drawn from."""

from typing import NamedTuple


class Place(NamedTuple):
    """Where people live: names of streets, and how an address is written around one."""

    streets: tuple[str, ...]
    written: str
    """With {street} and {number}."""


class Region(NamedTuple):
    """The first names, last names and places of a store's customers."""

    first: tuple[str, ...]
    last: tuple[str, ...]
    places: tuple[Place, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_US_STREETS = (
    "Alder Street",
    "Court Street",
    "Maple Avenue",
    "Prospect Street",
    "Second Avenue",
    "Union Street",
)
_CITIES = (
    "Portland, OR 97205",
    "Providence, RI 02903",
    "Madison, WI 53703",
    "Asheville, NC 28801",
    "Santa Fe, NM 87501",
    "Burlington, VT 05401",
    "Duluth, MN 55802",
)

HARBOUR = Region(
    first=_words(
        "Amelia Ben Carmen Daniel Esther Felix Grace Henrik Imani Jonas"
        " Khadija Leo Maeve Noah Olivia Priya Rafael Sofia Tomas Zoe"
    ),
    last=_words(
        "Abbott Bauer Castillo Dubois Eriksen Fitzgerald Greene Hoffman Iyer Johansson"
        " Kowalski Lindqvist Moreau Nakamura Okafor Peterson Quinn Rossi Sullivan Weaver"
    ),
    places=(
        *(Place(_US_STREETS, f"{{number}} {{street}}, {city}, USA") for city in _CITIES),
        Place(("Elbchaussee", "Lange Reihe", "Marktstraße"), "{street} {number}, 20457 Hamburg, Germany"),
        Place(("Nyhavn", "Vesterbrogade"), "{street} {number}, 1051 København, Denmark"),
        Place(("rue Mercière", "rue du Bœuf"), "{number} {street}, 69002 Lyon, France"),
    ),
)

KOMOREBI = Region(
    first=_words(
        "Akira Aoi Chiyo Daichi Emi Haruka Hiroshi Kaori Kenji Mai"
        " Naoko Ren Riku Sakura Shota Takumi Yui Yuki Camille Oliver"
    ),
    last=_words(
        "Abe Endo Fujita Goto Hayashi Inoue Ishikawa Kato Kimura Matsumoto"
        " Mori Nakajima Ogawa Saito Sato Suzuki Tanaka Ueda Watanabe Yamada"
    ),
    places=(
        Place(("Yanaka", "Nezu", "Sendagi"), "{number}-4-12 {street}, Taito-ku, Tokyo 110-0001, Japan"),
        Place(("Shimokitazawa", "Daizawa"), "{number}-18-3 {street}, Setagaya-ku, Tokyo 155-0031, Japan"),
        Place(("Teramachi-dori", "Shijo-dori"), "{number} {street}, Nakagyo-ku, Kyoto 604-0925, Japan"),
        Place(("Kanayama", "Osu"), "{number}-7 {street}, Naka-ku, Nagoya 460-0011, Japan"),
        Place(("Motomachi", "Yamamoto-dori"), "{number}-2 {street}, Chuo-ku, Kobe 650-0022, Japan"),
        Place(("Minami 1-jo", "Odori-nishi"), "{number}-5 {street}, Chuo-ku, Sapporo 060-0061, Japan"),
    ),
)

NOTES = (
    None,
    None,
    None,
    None,
    "Please leave it with the neighbours.",
    "A present: no invoice in the parcel, please.",
    "Ring twice, the bell is faint.",
    "Delivery on weekdays after 17:00 only.",
)

REGRETS = ("Ordered by mistake.", "Found it closer to home.", "The delivery would come too late.")
"""Why customers cancel."""

FAULTS = (
    "Arrived with a chip in the rim.",
    "One piece was missing from the parcel.",
    "The colour is not ours.",
)
"""Why money is given back."""
