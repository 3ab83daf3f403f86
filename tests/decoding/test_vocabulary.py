from charrnn.config import Limits
from charrnn.decoding.vocabulary import ConstraintCache
from charrnn.text.tokenizer import CharTokenizer


def test_the_last_constraints_are_kept_and_no_more() -> None:
    cache = ConstraintCache(CharTokenizer("ab\n"))
    limits = [Limits(regex=f"a{{{count}}}") for count in range(1, 60)]
    made = [cache.get(each, 100) for each in limits]
    assert all(
        cache.get(each, 100) is one for each, one in zip(limits[-9:], made[-9:], strict=True)
    )
    assert cache.get(limits[0], 100) is not made[0]
    assert len(cache._constraints) == 16
