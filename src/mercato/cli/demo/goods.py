"""What the demo's stores sell: words from which products are put together, by category.

Every make suits every kind of its shelf, so that whatever is drawn can be believed. Prices are a span in
whole units of the store's currency.
"""

from typing import NamedTuple


class Kind(NamedTuple):
    """A sort of thing: what it is called, its price from and to, and what it is for."""

    noun: str
    size: str
    low: int
    high: int
    use: str


class Make(NamedTuple):
    """How a thing is made: the word before its noun, and a sentence about it."""

    word: str
    text: str


class Shelf(NamedTuple):
    """A category of a store, with the first part of its SKUs."""

    category: str
    stem: str
    kinds: tuple[Kind, ...]
    makes: tuple[Make, ...]


LIGHTING = Shelf(
    "lighting",
    "LAMP",
    (
        Kind("desk lamp", "", 49, 129, "Throws its light where you work, and turns where you need it."),
        Kind("floor lamp", "150 cm", 99, 259, "Stands beside an armchair and lights the page, not the room."),
        Kind("table lamp", "", 45, 139, "A soft light for sideboards and window sills."),
        Kind("wall light", "", 39, 119, "Saves the bedside table's space; wired or with a plug."),
        Kind("pendant light", "35 cm", 69, 219, "Hangs low over a table without dazzling anybody."),
        Kind("reading light", "", 24, 79, "Clips to a headboard or a shelf, and dims in three steps."),
        Kind("ceiling light", "40 cm", 79, 199, "Lies flat under low ceilings and fills a hall with light."),
    ),
    (
        Make("Brass", "Solid brass that darkens with the years; a cloth brings the shine back."),
        Make("Matt black", "Powder-coated steel, easy to wipe."),
        Make("Opal glass", "Mouth-blown glass that spreads the light evenly."),
        Make("Smoked glass", "Grey glass that shows the filament and hides the dust."),
        Make("Oak", "Oiled oak from managed forests, with a linen cable."),
        Make("Walnut", "Turned from one piece of walnut, each with a grain of its own."),
        Make("Paper", "Layered mulberry paper on a bamboo frame, folded flat for the post."),
        Make("Brushed steel", "Stainless steel with joints that hold their position."),
    ),
)

KITCHEN = Shelf(
    "kitchen",
    "PAN",
    (
        Kind("frying pan", "26 cm", 39, 119, "For eggs, fish and whatever needs an even heat."),
        Kind("saute pan", "28 cm", 59, 149, "High sides and a lid, for what begins fried and ends braised."),
        Kind("casserole", "4 l", 79, 229, "From the hob to the oven to the table."),
        Kind("saucepan", "1.5 l", 29, 89, "Pours from both sides without dripping."),
        Kind("stockpot", "6 l", 59, 159, "Room for a chicken, a pound of pasta or jam for the winter."),
        Kind("wok", "32 cm", 45, 109, "Thin, quick and hot, with a flat base for induction."),
        Kind("roasting tin", "38 cm", 35, 99, "Holds a roast for six and the vegetables around it."),
    ),
    (
        Make("Cast-iron", "Seasoned with linseed oil; it gets better with use."),
        Make("Carbon-steel", "As hot as iron at half the weight."),
        Make("Stainless", "Three layers with aluminium inside; fit for the dishwasher."),
        Make("Enamelled", "Glass on steel: it keeps no smell and minds no acid."),
        Make("Copper-core", "A copper core that follows the flame within seconds."),
        Make("Ceramic-coated", "A mineral coating without fluorine; little oil is enough."),
        Make("Hammered", "Hammered by hand, so that no two look alike."),
    ),
)

GARDEN = Shelf(
    "garden",
    "YARD",
    (
        Kind("folding chair", "", 39, 99, "Folds to a hand's width and hangs on a nail through the winter."),
        Kind("bench", "140 cm", 129, 349, "Seats three along a wall in the evening sun."),
        Kind("side table", "45 cm", 45, 129, "For a book, a cup and the telephone that does not ring."),
        Kind("dining table", "180 cm", 249, 699, "Seats eight; the legs come off for storing."),
        Kind("lounge chair", "", 99, 329, "Leans back in four steps."),
        Kind("planter", "40 cm", 29, 119, "Drains by a hidden hole, with a saucer beneath."),
        Kind("stool", "", 29, 89, "A seat, a step or a stand for the watering can."),
        Kind("plant stand", "80 cm", 35, 119, "Three shelves that leave the light to every pot."),
    ),
    (
        Make("Acacia", "Oiled acacia that stands the rain; oil it once a year."),
        Make("Teak", "Teak from a certified plantation, which turns silver if it is left alone."),
        Make("Steel", "Galvanised and powder-coated, ten years against rust."),
        Make("Weathered oak", "Old beams, planed and put to new use."),
        Make("Rattan", "Woven by hand, for balconies under a roof."),
        Make("Bamboo", "Light, hard, and grown again within five years."),
    ),
)

LIVING = Shelf(
    "living",
    "WEAVE",
    (
        Kind("throw", "130 x 170 cm", 49, 149, "For the sofa, the train and the first cool evenings."),
        Kind("cushion cover", "50 x 50 cm", 19, 59, "Closes with a hidden zip."),
        Kind("rug", "160 x 230 cm", 149, 449, "Lies flat and takes the echo out of a room."),
        Kind(
            "pair of curtains",
            "140 x 250 cm",
            69,
            189,
            "Lined, so that mornings begin when you want them to.",
        ),
        Kind("blanket", "150 x 200 cm", 69, 229, "Warm without being heavy."),
        Kind("floor cushion", "60 x 60 cm", 39, 99, "Filled with buckwheat husks that keep their shape."),
        Kind("bedspread", "220 x 240 cm", 89, 249, "Quilted in narrow lines, for double beds."),
    ),
    (
        Make("Merino", "Fine wool from flocks that are not mulesed; wash it by hand."),
        Make("Washed linen", "Flax, washed with stones until it is soft."),
        Make("Organic cotton", "Cotton from farms that have been organic for a decade."),
        Make("Lambswool", "Spun and woven in one mill, undyed."),
        Make("Waffle-weave", "A deep waffle that dries fast and holds the warmth."),
        Make("Recycled wool", "Made from old jumpers, sorted by colour instead of dyed."),
    ),
)

TEA = Shelf(
    "tea",
    "TEA",
    (
        Kind("sencha", "100 g", 900, 2400, "Bright and grassy; 70 degrees, one minute."),
        Kind("gyokuro", "50 g", 1800, 4800, "Shaded for three weeks: deep, sweet, almost a broth."),
        Kind("hojicha", "100 g", 700, 1500, "Roasted, mild, and low in caffeine: a tea for the evening."),
        Kind("genmaicha", "200 g", 700, 1400, "With roasted rice, which smells of fresh popcorn."),
        Kind("matcha", "30 g", 1600, 4200, "Stone-ground; whisk two grams with a little hot water."),
        Kind("kukicha", "100 g", 600, 1300, "Stems and stalks, light and a little nutty."),
        Kind("black tea", "80 g", 900, 1900, "Rounded, with a note of honey; good with milk."),
    ),
    (
        Make("Uji", "From terraces along the river Uji, tended by one family for five generations."),
        Make("Yame", "From the misty valleys of Yame, picked by hand."),
        Make("Shizuoka", "From the slopes above Shizuoka, where the nights are cold."),
        Make("Kagoshima", "An early harvest from volcanic soil."),
        Make("Chiran", "Deep green, from the south of Kyushu."),
        Make("Sayama", "From the north, where the leaves grow thick and strong."),
        Make("Ureshino", "Curled in the pan, as it has been done there since 1440."),
    ),
)

STATIONERY = Shelf(
    "stationery",
    "PAPER",
    (
        Kind(
            "notebook", "A5", 700, 1800, "192 pages that lie flat and take a fountain pen without bleeding."
        ),
        Kind("pocket book", "A6", 500, 1200, "Fits a shirt pocket; the corners are round."),
        Kind("sketchbook", "B5", 1200, 2600, "Heavy paper for pencil, ink and a light wash."),
        Kind("letter set", "20 sheets", 600, 1500, "Paper and envelopes for letters that are kept."),
        Kind("memo pad", "100 sheets", 300, 800, "Tears off cleanly along the top."),
        Kind("weekly planner", "A5", 1200, 2800, "A week on two pages, undated: begin when you like."),
        Kind("pen case", "", 1400, 3600, "Room for six pens, rolled up and tied."),
    ),
    (
        Make("Washi", "Bound in washi from Echizen, each sheet with its own fibres."),
        Make("Kraft", "Plain brown paper that wears its scratches well."),
        Make("Indigo", "A cover dyed with indigo, which fades where hands hold it."),
        Make("Cream", "Off-white, restful to the eye."),
        Make("Charcoal", "Dark grey with a white thread."),
        Make("Persimmon", "Tanned with persimmon juice: warm, brown and water-repellent."),
        Make("Pine green", "The green of a garden after rain."),
    ),
)

TABLEWARE = Shelf(
    "tableware",
    "CLAY",
    (
        Kind("teapot", "350 ml", 3800, 9800, "Pours to the last drop; the sieve is part of the clay."),
        Kind("tea cup", "150 ml", 1200, 3200, "Thin at the lip, warm in the hand."),
        Kind("rice bowl", "12 cm", 1400, 3400, "The size that a hand can hold."),
        Kind("soup bowl", "15 cm", 1600, 3800, "Deep enough for noodles, light enough to lift."),
        Kind("serving plate", "24 cm", 2600, 6800, "For a whole fish, or for the cake."),
        Kind("sake set", "3 pieces", 3200, 7800, "A flask and two cups, to be warmed in a water bath."),
        Kind("mug", "300 ml", 1600, 3600, "For those who like more tea than fits a cup."),
    ),
    (
        Make("Hasami", "Porcelain from Hasami: smooth, white, fit for every day."),
        Make("Arita", "Painted by hand in the blue that made Arita known."),
        Make("Mino", "Stoneware with a glaze that ran as it liked."),
        Make("Tokoname", "Unglazed red clay that softens the taste of tea."),
        Make("Shigaraki", "Coarse clay with the marks of the fire."),
        Make("Mashiko", "Thick, brown and friendly: a potter's village in each piece."),
        Make("Bizen", "Fired for ten days with pine, without any glaze."),
    ),
)

TEXTILES = Shelf(
    "textiles",
    "CLOTH",
    (
        Kind(
            "tenugui", "35 x 90 cm", 900, 2200, "A towel, a scarf, a wrapping: the edges are meant to fray."
        ),
        Kind("furoshiki", "70 x 70 cm", 1400, 3800, "Wraps a present or carries a bottle."),
        Kind("noren", "85 x 150 cm", 3800, 8800, "A curtain for a doorway, split in the middle."),
        Kind("apron", "", 3200, 7200, "Crosses at the back, without a knot in the neck."),
        Kind("kitchen cloth", "set of 3", 1100, 2600, "Eight layers of gauze that drink up everything."),
        Kind("tote bag", "", 2400, 5800, "Carries a day's shopping and folds into its own pocket."),
        Kind("seat cushion", "45 x 45 cm", 2900, 6400, "Filled with cotton, tufted in the middle."),
    ),
    (
        Make("Indigo-dyed", "Dyed twelve times in a vat of living indigo."),
        Make("Sashiko", "Stitched in white: the pattern makes it strong."),
        Make("Banshu", "Woven from dyed yarn in Banshu since 1792."),
        Make("Linen", "Linen that grows softer with each wash."),
        Make("Striped", "Narrow stripes, as merchants wore them in Edo."),
        Make("Checked", "A wide check in white and ink."),
        Make("Kasuri", "Blurred patterns, tied off thread by thread before the weaving."),
    ),
)
