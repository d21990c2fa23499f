"""What lessons call `nb.<name>`: each name has one home, and is there."""

from collections import Counter

from mergelab import notebook as nb


def test_no_name_has_two_homes_and_each_is_there():
    names = Counter(name for home in nb._HOMES.values() for name in home)
    assert [name for name, count in names.items() if count > 1] == []
    for name in names:
        getattr(nb, name)
