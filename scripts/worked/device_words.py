"""Words that devices and rooms are called by: plain ones, and made-up ones of one to three syllables."""

import random
from importlib import resources

QUALITIES = """
amber ancient azure blue bright bronze brown central coral corner crimson cream dark double east far first fourth front
golden great green grey guest indoor inner ivory large left little long lower main marble middle narrow near new north
old olive open orange outdoor outer oval pale pink purple quiet rear red right rose round rustic scarlet second shared
side silver single sixth small soft south square summer sunny tall third timber turquoise twin upper velvet violet warm
west white wide winter wooden yellow
""".split()
ROOMS = """
alcove annexe attic balcony barn basement bathroom bedroom boathouse bunker cabin canteen carport cellar chamber chapel
clinic cloakroom conservatory corridor cottage courtyard crypt den dormitory entrance foyer gallery garage garden
gatehouse greenhouse gymnasium hall hallway hangar hayloft kennel kitchen laboratory landing larder laundry library
lobby loft lounge nursery office orangery pantry parlour passage patio pavilion playroom porch reception refectory
salon sauna scullery shed shop snug solarium spa stable staircase storeroom studio study sunroom terrace theatre tower
utility vault veranda vestibule wardrobe washroom workshop
""".split()
DEVICES = """
aerator alarm amplifier aquarium awning barrier beacon bell blender blind boiler bulb camera candle chandelier charger
chiller chimney clock coffee-maker compressor console cooker cooler curtain dehumidifier dishwasher display doorbell
dryer extractor fan fireplace floodlight fountain freezer fridge fryer furnace gate generator grill heater hob
humidifier inverter iron jukebox kettle lamp lantern lift light lock loudspeaker microwave mixer monitor oven
percolator piano printer projector pump purifier radiator radio receiver recorder router scanner screen sensor shower
shutter siren sink speaker spotlight sprinkler steamer stereo stove streamer switch tap telephone television thermostat
toaster transmitter turntable typewriter vacuum valve ventilator washer
""".split()
# What else a room or a device may be called by.
FURTHER = """
acorn agate alder almond alpine anchor apple apricot arctic arrow ash aspen atlas autumn badger bamboo banjo banner
barley basil beech beetle birch bishop bison blossom bonfire border boulder bramble brass bravo breeze brick bridge
bridal brook bubble buffalo butter cabbage cactus camel canal candy canyon captain cardinal carrot castle cedar chalk
charlie cherry chestnut chilli cinder cinnamon circle citrus clay clover cobalt cobble cocoa coconut comet compass
concrete cotton cougar coyote crane crater cricket crown crystal curved cypress daisy dancer delta desert diamond
dolphin domino dragon drummer duchess dusty eagle early ebony echo elder ember emerald emperor empty falcon family
farmer feather fern fiddle finch flame flamingo flint flower forest formal fossil fragile frosty galaxy garnet gentle
giant ginger glacier glass glossy goblin goose granite grape gravel gypsy hammer happy harbour harvest hazel heather
heavy hermit heron hidden hollow honey hunter indigo iron island jasmine jasper jelly jewel jolly jungle juniper
kingfisher lagoon laurel lavender leather legend lemon leopard lilac lily lime linen lion liquid lively lizard lotus
lunar magnet magnolia mahogany mango maple maroon meadow melon mercury merry metal midnight mint mirror misty modern
monkey mosaic moss mountain mustard navy nectar nickel noble nutmeg oak oasis ocean olympic onyx opal orchid osprey
otter owl oyster paper parrot peach peacock pearl pebble pepper petal pewter pilot pine pioneer pirate planet plastic
plaza plum polar polished pond poppy portable prairie private pumpkin quartz queen quick rabbit rainbow rapid raven
reindeer ribbon river robin rocky rough royal ruby rusty sable saffron sage sailor salmon sandy sapphire satin scarf
secret seven shadow shell shiny sienna simple sky slate sleepy smooth snowy solar spare sparrow spice spruce square
squirrel starry steel stone storm straw sugar sunset swan swift tangerine teal temple thistle thunder tidal tiger tiny
topaz tropic tulip tunnel turtle twilight umber urban valley vanilla vintage vivid volcano walnut wild willow windy
wolf woollen zebra zinc alice amanda arthur beatrice benjamin caroline daniel deborah edward eleanor emily frances
george hannah harold henry isabel jacob james joseph julia kate laura leonard lucas margaret martin mary matthew
nicholas nora oliver patrick peter rachel rebecca richard robert rosa samuel sarah simon sophie stephen theodore
thomas victor victoria walter william
""".split()
# Names of the training split are made of these too. A model writes '"cottage' in other pieces than it reads ' cottage'
# in: it has to know how a word is spelled to copy it, and learns to say so from thousands of words.
_COMMON = resources.files(__package__) / "words.txt"
# Behind another word these make thousands of names: a model that has read few words spells one of those few when a new
# one begins alike, "vulcan" for "velvet".
_PLACES = """
bank bay berry bourne bridge bury combe croft dale field ford gate grove ham haven hill holm hurst lake land ley meadow
mere mill moor mouth park point pool port ridge rise shaw side stead stone stream thorpe ton vale view ward water way
well wick wood worth yard
""".split()
_STARTS = """
b bl br c ch cl d dr f fl g gl gr h j k kl l m n p pl pr qu r s sh sk sl sn sp st t th tr v w y z
""".split()
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_VOWELS = "a e i o u ai ea ee ie oa oo".split()
_ENDS = "b d ck g l m n nd ng nt p r rk rn s sh sk ss st t th x".split()


def common() -> list[str]:
    """Thousands of plain words of any kind."""
    return _COMMON.read_text("utf-8").split()


def made_up(source: random.Random) -> str:
    """A word that is no word, which a tokenizer cuts into several pieces."""
    syllables = source.choices((1, 2, 3), weights=(2, 5, 2))[0]
    word = "".join(source.choice(_STARTS) + source.choice(_VOWELS) for _ in range(syllables))
    return word + (source.choice(_ENDS) if source.random() < 0.7 else "")


def compound(words: list[str], source: random.Random) -> str:
    """A name as places have it: silverford, mapleridge."""
    return source.choice(words) + source.choice(_PLACES)


def blend(first: str, second: str, source: random.Random) -> str:
    """How one word begins and another one ends: stairvas, velway. Who has read it copies what follows "stair", and does
    not guess it."""
    return first[: source.randint(2, max(2, len(first) - 1))] + second[source.randint(1, max(1, len(second) - 2)) :]


def misspelled(word: str, source: random.Random) -> str:
    """A word with one letter more, one less, another one, or two that changed places. Never the same word."""
    at = source.randrange(len(word) - 1)
    letter = source.choice([letter for letter in _LETTERS if letter not in word[at : at + 2]])
    kinds = [f"{word[:at]}{letter}{word[at:]}", f"{word[:at]}{letter}{word[at + 1 :]}"]
    if len(word) > 3:
        kinds.append(word[:at] + word[at + 1 :])
    if word[at] != word[at + 1]:
        kinds.append(f"{word[:at]}{word[at + 1]}{word[at]}{word[at + 2 :]}")
    return source.choice(kinds)


def shares(words: list[str], source: random.Random) -> tuple[list[str], list[str], list[str]]:
    """Words of training, validation and test, no word in two: seven, one and two in ten."""
    mixed = source.sample(words, len(words))
    first, second = int(0.7 * len(words)), int(0.8 * len(words))
    return mixed[:first], mixed[first:second], mixed[second:]
