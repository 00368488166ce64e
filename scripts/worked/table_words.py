"""Names of tables and columns, and values: of each kind, no word is in both splits."""


def _divided(words: str) -> dict[str, tuple[str, ...]]:
    """Every fifth word is for the test."""
    found = words.split()
    return {"test": tuple(found[::5]), "train": tuple(word for number, word in enumerate(found) if number % 5)}


TABLES = _divided(
    "boats books albums trucks tickets rooms farms bridges lamps orders players teams songs movies houses cars bikes"
    " planes trains horses dogs cats trees rivers lakes mountains cities schools hotels museums doctors nurses patients"
    " students teachers classes courses exams projects tasks bugs servers printers phones laptops cameras clocks"
    " watches chairs tables beds ovens knives bottles wines beers cheeses apples recipes menus guests flights pilots"
    " airports ships ports engines tools machines robots sensors batteries cables parks gardens flowers birds fish bees"
    " islands castles towers churches stations buses routes drivers coaches races runners matches goals"
    " games toys dolls kites drums guitars pianos violins concerts singers dancers painters paintings statues letters"
    " parcels stores shops markets banks loans accounts payments invoices taxes contracts lawyers judges cases"
)
NUMBERS = _divided(
    "price weight length height age year score speed width depth salary distance capacity rating cost population"
    " points wins losses goals pages duration volume power temperature size budget income discount rent fee quantity"
    " stock floors seats doors wheels rank level credits"
)
TEXTS = _divided(
    "city owner name color title author country brand category status material region genre language street maker"
    " manager state department model type position shape style flavor director publisher breed origin club"
    " season sponsor captain label district"
)
WORDS = _divided(
    "red Paris oak London green Berlin steel north jazz Smith blue Tokyo iron Madrid active Rome black Jones French"
    " Chicago gold Vienna small silver Oslo south white Anna Lisbon wooden Dublin open rock Dallas closed Peter Athens"
    " brown Maria Boston yellow east copper Lima Denver round folk west Cairo square Miami Brown Prague large Seattle"
    " Garcia orange Warsaw fresh modern Delhi"
)
