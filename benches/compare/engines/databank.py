"""The rules of the ``databank`` preset, for the queries that have to spell them out.

Highest stage first:

* L: purchases on two or more distinct days of 365, or a review rated 4 or better within 365 days;
* P: a purchase within 910 days;
* I: a member or a fan, or active contact within 15 days, or views on two or more distinct days of 15;
* A: passive contact within 15 days.

A window of N days that ends on ``as_of`` is the closed day range ``[as_of - N + 1, as_of]``; later events do not count.
A consumer is a member if the last of their joins and leaves is a join; at the same instant a leave wins.
"""

import datetime as dt

CONTACT_DAYS = 15
LOYALTY_DAYS = 365
PURCHASE_DAYS = 910

PASSIVE = ("impression", "click", "view", "store_view", "content_view", "category_search")
ACTIVE = ("search", "favorite", "add_to_cart", "sample_claim", "share", "comment", "like", "reserve")
MEMBER = ("member_join", "member_leave")
FAN = ("follow", "unfollow")

# All that can matter when it is older than CONTACT_DAYS. Rows outside both are dropped while the file is read.
LONG_LIVED = ("purchase", "review", *MEMBER, *FAN)


def first_day(as_of: dt.date, days: int) -> dt.date:
    """First day of the window of ``days`` days that ends on ``as_of``."""
    return as_of - dt.timedelta(days=days - 1)


def midnight(day: dt.date) -> dt.datetime:
    """The instant at which ``day`` begins."""
    return dt.datetime.combine(day, dt.time())


def sql_list(names: tuple[str, ...]) -> str:
    """``names`` as the right side of an SQL ``IN``."""
    return "(" + ", ".join(f"'{name}'" for name in names) + ")"
